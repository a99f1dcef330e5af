import { openTally, type TallyEvent, topic, type TallyError } from "@tallymq/core";
import { kafka, type KafkaOptions } from "@tallymq/kafka";
import { Kafka, logLevel } from "kafkajs";
import { afterAll, beforeAll, expect, it } from "vitest";
import { until } from "../brokers/engine/wait.ts";
import { type KafkaNode, startKafka } from "../brokers/index.ts";

let node: KafkaNode;
let names = 0;
beforeAll(async () => void (node = await startKafka()));
afterAll(() => node.stop());

/** A topic of one partition, and what one consumer of it is told. */
async function stage(options: Partial<KafkaOptions> = {}) {
  const orders = topic<{ n: number }>(`gaps-${++names}`, { groups: ["billing"] });
  const events: TallyEvent[] = [];
  const tally = await openTally({
    service: "shop",
    broker: kafka({ brokers: [node.direct], partitions: 1, heartbeat: "200ms", fetchWait: "50ms", ...options }),
    topics: [orders],
    onEvent: (event) => void events.push(event),
  });
  return { orders, tally, events };
}

/** As retention does it: messages before this offset are gone. */
async function forget(name: string, before: number): Promise<void> {
  const admin = new Kafka({ brokers: [node.direct], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  // It looks for leaders among topics that it has been asked about.
  await admin.fetchTopicOffsets(name);
  await admin.deleteTopicRecords({ topic: name, partitions: [{ partition: 0, offset: String(before) }] });
  await admin.disconnect();
}

const gapsOf = (events: readonly TallyEvent[]): readonly string[] =>
  events.flatMap((event) => (event.type === "gap" ? [`${event.from}-${event.to}`] : []));

it("messages that are gone before a group had them are named, and its consumers do not start, however often", async () => {
  const { orders, tally, events } = await stage();
  await using _ = tally;
  const seen: number[] = [];
  const start = (t = tally) =>
    t
      .consumer("billing")
      .on(orders, async ({ n }) => void seen.push(n))
      .start();
  for (let n = 0; n < 3; n++) await tally.publish(orders, { n });
  const first = await start();
  await until("three effects", 20_000, () => seen.length === 3);
  await first.close();
  for (let n = 3; n < 10; n++) await tally.publish(orders, { n });
  await forget(orders.name, 8);
  for (let tries = 1; tries <= 2; tries++) {
    const error: unknown = await start().catch((thrown: unknown) => thrown);
    expect((error as TallyError).code).toBe("topology");
    expect((error as TallyError).message).toMatch(/messages 3 to 7 .* are gone/);
  }
  expect(seen).toEqual([0, 1, 2]);
  expect(gapsOf(events)).toContain("3-8");
  // A person has decided: another process goes on without them.
  const other = await stage({ offsetReset: "earliest" });
  await using _other = other.tally;
  await using _going = await start(other.tally);
  await until("the rest", 20_000, () => seen.length === 5);
  expect(seen).toEqual([0, 1, 2, 8, 9]);
  expect(gapsOf(other.events)).toEqual(["3-8"]);
});

it("a gap that opens while a group consumes ends its session, and stays a gap for the next one", async () => {
  const { orders, tally, events } = await stage({ fetchBytes: 1_024 });
  await using _ = tally;
  const go = Promise.withResolvers<void>();
  const seen: number[] = [];
  const billing = await tally
    .consumer("billing", { lanes: 1, credit: 1 })
    .on(orders, async ({ n }) => {
      await go.promise;
      seen.push(n);
    })
    .start();
  // More batches than one fetch brings: the client stops asking while the first message is in its handler.
  for (let n = 0; n < 200; n++) await tally.publish(orders, { n });
  await forget(orders.name, 190);
  go.resolve();
  await until("the gap", 30_000, () => gapsOf(events).length > 0);
  const [from, to] = gapsOf(events)[0]!.split("-").map(Number);
  expect(to).toBe(190);
  expect(from).toBeGreaterThan(0);
  await until("every effect before it", 20_000, () => seen.length === from);
  // It tries again and again, and would share the partitions with whoever comes.
  await billing.close();
  // What the client resets by itself must not become the group's position.
  const other = await stage();
  await using _other = other.tally;
  const again: unknown = await other.tally
    .consumer("billing")
    .on(orders, async () => {})
    .start()
    .catch((thrown: unknown) => thrown);
  // The last ack before it may have come too late for a commit.
  expect((again as TallyError).message).toMatch(new RegExp(`messages (${from! - 1}|${from}) to 189 .* are gone`));
});
