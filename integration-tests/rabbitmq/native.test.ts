// AMQP's own properties mean what RabbitMQ says that they mean.
import { bytes, openTally, topic } from "@tallymq/core";
import { rabbitmq } from "@tallymq/rabbitmq";
import { expect, it } from "vitest";
import { sharedRabbit } from "../brokers/vitest/shared.ts";
import { outsider } from "./stage.ts";

it("what nobody took before its expiration is not lost: it is a dead letter of its group", async () => {
  await using rabbit = await sharedRabbit();
  const offers = topic("offers", { codec: bytes, groups: ["mails"] });
  await using tally = await openTally({ service: "shop", broker: rabbitmq({ urls: [rabbit.url] }) });
  await tally.publish(offers, Buffer.from("today only"), { id: "short", native: { expiration: 50 } });
  await tally.publish(offers, Buffer.from("any time"), { id: "long" });

  const letters = tally.deadLetters(offers, "mails");
  await expect.poll(async () => (await letters.list()).map(({ id }) => id), { timeout: 10_000 }).toEqual(["short"]);
  const [letter] = await letters.list();
  expect(letter?.headers["x-last-death-reason"]).toBe("expired");
  expect(Buffer.from(letter?.body ?? []).toString()).toBe("today only");
});

it("a queue with priorities hands out the most urgent first", async () => {
  await using rabbit = await sharedRabbit();
  await using other = await outsider(rabbit.url);
  await other.channel.assertQueue("jobs", { durable: true, maxPriority: 5 });
  const jobs = topic("jobs", { codec: bytes });
  await using tally = await openTally({
    service: "shop",
    broker: rabbitmq({ urls: [rabbit.url], topics: { jobs: { queue: "jobs", declare: false } } }),
  });
  for (const [id, priority] of [
    ["low", 1],
    ["none", undefined],
    ["high", 5],
    ["middle", 3],
  ] as const)
    await tally.publish(jobs, Buffer.from(id), { id, native: priority === undefined ? {} : { priority } });

  const seen: (string | null)[] = [];
  await using _worker = await tally
    .consumer("worker", { lanes: 1 })
    .on(jobs, (_job, { id }) => void seen.push(id))
    .start();
  await expect.poll(() => seen, { timeout: 10_000 }).toEqual(["high", "middle", "low", "none"]);
});
