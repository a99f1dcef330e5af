// What the broker itself gives up on lies beside what consumers give up, and is replayed like it.
import { openTally, release, topic } from "@tallymq/core";
import { rabbitmq } from "@tallymq/rabbitmq";
import { expect, it } from "vitest";
import { sharedRabbit } from "../brokers/vitest/shared.ts";

interface Order {
  readonly n: number;
  readonly key: string;
}

it("a message beyond the broker's delivery limit is listed, replayed, and may die again", async () => {
  await using rabbit = await sharedRabbit();
  const orders = topic<Order>("limited", { groups: ["billing"], key: (o) => o.key });
  await using tally = await openTally({
    service: "shop",
    broker: rabbitmq({ urls: [rabbit.url], deliveryLimit: 10 }),
  });
  let works = false;
  const done: (string | null)[] = [];
  await using _billing = await tally
    .consumer("billing", { onError: () => release({ after: 0 }) })
    .on(orders, (_order, { id }) => {
      if (!works) throw new Error("not yet");
      done.push(id);
    })
    .start();
  const letters = tally.deadLetters(orders, "billing");
  await tally.publish(orders, { n: 1, key: "ada" }, { id: "o-1", headers: { tenant: "acme" } });
  for (let death = 1; death <= 2; death++) {
    await expect.poll(async () => (await letters.list()).length, { timeout: 10_000 }).toBe(1);
    const [letter] = await letters.list();
    expect(letter).toMatchObject({
      id: "o-1",
      key: "ada",
      producer: "shop",
      attempts: null,
      headers: { tenant: "acme" },
    });
    expect(letter!.reason).toContain("the broker gave it up");
    expect(letter!.decode()).toEqual({ n: 1, key: "ada" });
    works = death === 2;
    expect(await letters.replay()).toEqual({ matched: 1, replayed: 1, failed: 0, left: 0 });
  }
  await expect.poll(() => done, { timeout: 10_000 }).toEqual(["o-1"]);
  expect(await letters.list()).toEqual([]);
});
