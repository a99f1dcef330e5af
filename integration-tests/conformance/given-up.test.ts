// What the broker itself gives up on lies beside what consumers give up, and is replayed like it.
import { type Broker, type DeadLetter, openTally, release, topic } from "@tallymq/core";
import { rabbitmq } from "@tallymq/rabbitmq";
import { rocketmq } from "@tallymq/rocketmq";
import { expect, it } from "vitest";
import { startRocket } from "../brokers/index.ts";
import { makeGroup } from "../brokers/rocketmq/admin.ts";
import { sharedRabbit } from "../brokers/vitest/shared.ts";

interface Order {
  readonly n: number;
  readonly key: string;
}

const TOPIC = "limited";
const GROUP = "billing";

/** A broker that gives a message of the group up after so many deliveries. */
interface Limited extends AsyncDisposable {
  readonly broker: Broker;
  readonly deliveries: number;
  /** What comes next is there within so long, in milliseconds. */
  readonly timeout: number;
  /** What a listing gave back is there again only some seconds later. */
  readonly listedIsAway: boolean;
}

async function rabbit(): Promise<Limited> {
  const own = await sharedRabbit();
  const broker = rabbitmq({ urls: [own.url], deliveryLimit: 10 });
  return { broker, deliveries: 11, timeout: 10_000, listedIsAway: false, [Symbol.asyncDispose]: () => own.stop() };
}

async function rocket(): Promise<Limited> {
  const node = await startRocket();
  // Somebody else has made the group, with a limit far below our own of 16.
  await makeGroup(node.brokers.get("broker")!, `${TOPIC}_${GROUP}`, 1);
  const quick = { invisible: "10s", heartbeat: "1s", receiveWait: "1s" } as const;
  const broker = rocketmq({ endpoints: [node.direct], names: [node.names], ...quick });
  return { broker, deliveries: 2, timeout: 45_000, listedIsAway: true, [Symbol.asyncDispose]: () => node.stop() };
}

it.each([
  ["RabbitMQ's delivery limit", rabbit],
  ["the group's retryMaxTimes, on RocketMQ", rocket],
])("a message beyond %s is listed, replayed, and may die again", { timeout: 300_000 }, async (_limit, start) => {
  await using limited = await start();
  const orders = topic<Order>(TOPIC, { groups: [GROUP], key: (o) => o.key });
  await using tally = await openTally({ service: "shop", broker: limited.broker, topics: [orders] });
  let works = false;
  let attempts = 0;
  const done: (string | null)[] = [];
  await using _billing = await tally
    .consumer(GROUP, { attempts: 1, onError: () => release({ after: 0 }) })
    .on(orders, (_order, { id }) => {
      attempts++;
      if (!works) throw new Error("not yet");
      done.push(id);
    })
    .start();
  const letters = tally.deadLetters(orders, GROUP);
  const within = { timeout: limited.timeout };
  await tally.publish(orders, { n: 1, key: "ada" }, { id: "o-1", headers: { tenant: "acme" } });
  for (let death = 1; death <= 2; death++) {
    let letter: DeadLetter | undefined;
    await expect.poll(async () => ([letter] = await letters.list()).length, within).toBe(1);
    expect(letter).toMatchObject({
      id: "o-1",
      key: "ada",
      producer: "shop",
      attempts: null,
      headers: { tenant: "acme" },
    });
    expect(letter!.reason).toContain("the broker gave it up");
    expect(letter!.decode()).toEqual({ n: 1, key: "ada" });
    expect(attempts).toBe(limited.deliveries * death);
    works = death === 2;
    const first = await letters.replay();
    let { replayed } = first;
    if (limited.listedIsAway)
      await expect.poll(async () => (replayed += (await letters.replay()).replayed), within).toBe(1);
    else expect(first).toEqual({ matched: 1, replayed: 1, failed: 0, left: 0 });
  }
  await expect.poll(() => done, within).toEqual(["o-1"]);
  expect(await letters.list()).toEqual([]);
});
