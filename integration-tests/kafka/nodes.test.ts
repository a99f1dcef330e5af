import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openTally, type Tally, type TallyEvent, topic, type Topic } from "@tallymq/core";
import { kafka, type KafkaOptions } from "@tallymq/kafka";
import { sqlite } from "@tallymq/store-sqlite";
import { type Admin, Kafka, logLevel } from "kafkajs";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { until } from "../brokers/engine/wait.ts";
import { type KafkaCluster, startKafkaCluster } from "../brokers/index.ts";
import { typed } from "./typed.ts";

interface Order {
  readonly n: number;
  readonly customer: string;
}

let cluster: KafkaCluster;
let admin: Admin;
let names = 0;
beforeAll(async () => {
  cluster = await startKafkaCluster();
  admin = new Kafka({ brokers: [...cluster.direct], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
});
afterAll(async () => {
  await admin.disconnect();
  await cluster.stop();
});

const ordersTopic = (ordered = false): Topic<Order> =>
  topic<Order>(`nodes-${++names}`, { key: (o) => o.customer, ordered, groups: ["billing"] });

async function open(orders: Topic<Order>, options: Partial<KafkaOptions> = {}) {
  const events: TallyEvent[] = [];
  const tally = await openTally({
    service: "shop",
    broker: kafka({
      brokers: cluster.direct,
      sessionTimeout: "3s",
      heartbeat: "300ms",
      fetchWait: "50ms",
      partitions: 3,
      ...options,
    }),
    topics: [orders],
    onEvent: (event) => void events.push(event),
  });
  onTestFinished(() => tally.close({ within: "10s" }));
  return { tally, events, said: (type: TallyEvent["type"]) => events.filter((event) => event.type === type) };
}

/** A call at a time for each customer, until told to end: then how many there were, each of them confirmed. */
function publishing(tally: Tally, orders: Topic<Order>): () => Promise<number> {
  let [n, over] = [0, false];
  const one = async (customer: string): Promise<void> => {
    while (!over) {
      const id = n++;
      await tally.publish(orders, { n: id, customer }, { id: `o-${id}` });
    }
  };
  const all = Promise.all(Array.from({ length: 30 }, (_, at) => one(`c${at}`)));
  return async () => {
    over = true;
    await all;
    return n;
  };
}

/** What lies in the log, by partition, as another client of ours reads it; each id as often as it is there. */
async function logOf(name: string): Promise<ReadonlyMap<number, readonly string[]>> {
  const ends = new Map((await admin.fetchTopicOffsets(name)).map(({ partition, high }) => [partition, Number(high)]));
  const found = new Map([...ends.keys()].map((partition) => [partition, [] as string[]]));
  const read = new Map([...ends.keys()].map((partition) => [partition, 0]));
  const reader = new Kafka({ brokers: [...cluster.direct], logLevel: logLevel.NOTHING }).consumer({
    groupId: `reader-${name}`,
  });
  await reader.connect();
  await reader.subscribe({ topics: [name], fromBeginning: true });
  await reader.run({
    autoCommit: false,
    eachMessage: async ({ partition, message }) => {
      found.get(partition)!.push(String(message.headers?.["tally-id"]));
      read.set(partition, Number(message.offset) + 1);
    },
  });
  const all = () => [...ends].every(([partition, end]) => read.get(partition)! >= end);
  await until(`the end of ${name}`, 30_000, all);
  await reader.disconnect();
  return found;
}

const committedOf = async (name: string): Promise<readonly { readonly partition: number; readonly offset: number }[]> =>
  (await admin.fetchOffsets({ groupId: `${name}.billing`, topics: [name] }))[0]!.partitions.map(
    ({ partition, offset }) => ({ partition, offset: Math.max(0, Number(offset)) }),
  );

async function lagOf(name: string): Promise<number> {
  const [ends, committed] = await Promise.all([admin.fetchTopicOffsets(name), committedOf(name)]);
  return ends.reduce(
    (sum, { partition, high }) => sum + Number(high) - committed.find((one) => one.partition === partition)!.offset,
    0,
  );
}

it("one leader moves: each message is in the log, and of the other partitions none is sent again", async () => {
  const orders = ordersTopic();
  const { tally, events } = await open(orders);
  const end = publishing(tally, orders);
  await cluster.moveLeader(orders.name, 0);
  await cluster.moveLeader(orders.name, 0);
  const published = await end();
  const log = await logOf(orders.name);
  expect(new Set([...log.values()].flat()).size).toBe(published);
  for (const partition of [1, 2]) expect(new Set(log.get(partition)).size).toBe(log.get(partition)!.length);
  const again = events.flatMap((event) => (event.type === "resend" ? [event.id] : []));
  expect(again.filter((id) => !log.get(0)!.includes(id))).toEqual([]);
});

it("a partition has too few replicas for longer than the client repeats: its batch alone is in doubt and sent again", async () => {
  const orders = ordersTopic();
  // Two replicas each, both of which must have what is accepted: without node 1 nothing is accepted on partition 0.
  const replicas = [
    [1, 2],
    [2, 3],
    [3, 2],
  ];
  await admin.createTopics({
    topics: [
      { topic: orders.name, replicaAssignment: replicas.map((each, partition) => ({ partition, replicas: each })) },
    ],
  });
  const { tally, said, events } = await open(orders, { topics: { [orders.name]: { declare: false } } });
  const end = publishing(tally, orders);
  await cluster.nodes[0]!.kill();
  await until("the producer to be retired", 60_000, () => said("session-retired").length > 0);
  await cluster.nodes[0]!.start();
  const published = await end();
  const log = await logOf(orders.name);
  expect(new Set([...log.values()].flat()).size).toBe(published);
  const again = events.flatMap((event) => (event.type === "resend" ? [event.id] : []));
  expect(again.length).toBeGreaterThan(0);
  expect(again.filter((id) => !log.get(0)!.includes(id))).toEqual([]);
  for (const partition of [1, 2]) expect(new Set(log.get(partition)).size).toBe(log.get(partition)!.length);
});

it("a poison key does not stop the committed offset: 10,000 messages of other keys later the lag is below 1,000", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tally-poison-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const orders = ordersTopic(true);
  const { tally: shop } = await open(orders, { partitions: 1 });
  const tally = await openTally({
    service: "shop",
    broker: kafka({ brokers: cluster.direct, partitions: 1, fetchWait: "50ms" }),
    inbox: sqlite(join(folder, "inbox.db")),
    topics: [orders],
  });
  onTestFinished(() => tally.close({ within: "10s" }));
  const seen = new Set<number>();
  await tally
    .consumer("billing", { effect: "tx", lanes: 64, attempts: 2, retryMin: "10ms", retryMax: "50ms", maxAttempts: 2 })
    .on(orders, async ({ n, customer }) => {
      if (customer === "poison") throw new Error("never");
      seen.add(n);
    })
    .start();
  // Its head, and more of its key all along.
  for (let n = 0; n < 10_500; n += 500) {
    const some = Array.from({ length: 500 }, (_, at) => n + at);
    await Promise.all(
      some.map((one) =>
        shop.publish(orders, { n: one, customer: one % 500 === 0 ? "poison" : `c${one % 97}` }, { id: `o-${one}` }),
      ),
    );
  }
  await until("10,000 messages of other keys", 90_000, () => seen.size >= 10_000);
  await until("a lag below 1,000", 5_000, async () => (await lagOf(orders.name)) < 1_000);
  expect((await tally.parked.keys.list()).map(({ key }) => key)).toEqual(["poison"]);
});

it("a rebalance storm: no commit runs past unfinished work, and everything is done once the storm is over", async () => {
  const orders = ordersTopic();
  const { tally: shop } = await open(orders);
  /** Places whose handlers have ended. */
  const done = new Map([0, 1, 2].map((partition) => [partition, new Set<number>()]));
  const seen = new Set<number>();
  const join = async () => {
    const member = await open(orders);
    await member.tally
      .consumer("billing", { effect: "none", lanes: 16 })
      .on(orders, async ({ n, customer }, { native }) => {
        // Some take longer than others: a partition's messages do not end in its order.
        if (customer === "c7") await new Promise((resolve) => setTimeout(resolve, 20));
        const { partition, message } = native as { partition: number; message: { offset: string } };
        done.get(partition)!.add(Number(message.offset));
        seen.add(n);
      })
      .start();
    return member;
  };
  const first = await join();
  const end = publishing(shop, orders);
  const unfinished: string[] = [];
  for (let round = 0; round < 6; round++) {
    const guest = await join();
    for (const { partition, offset } of await committedOf(orders.name))
      for (let at = 0; at < offset; at++) if (!done.get(partition)!.has(at)) unfinished.push(`${partition}/${at}`);
    await guest.tally.close({ within: "10s" });
  }
  const published = await end();
  await until("the last message", 60_000, () => seen.size === published);
  await first.tally.close({ within: "10s" });
  expect(unfinished).toEqual([]);
  expect(await lagOf(orders.name)).toBe(0);
  expect(first.said("gap")).toEqual([]);
});

it("the audit finds nothing in what Tally makes, and what somebody else has made, or killed; its fixes mend it", async () => {
  const [ours, theirs] = [ordersTopic(), ordersTopic()];
  await admin.createTopics({
    topics: [
      {
        topic: theirs.name,
        numPartitions: 2,
        replicationFactor: 1,
        configEntries: [
          { name: "min.insync.replicas", value: "1" },
          { name: "max.message.bytes", value: "2000000" },
        ],
      },
    ],
  });
  const { tally } = await open(ours, { topics: { [theirs.name]: { declare: false } } });
  const found = async () =>
    (await tally.audit()).findings
      .filter(({ severity }) => severity !== "info")
      .map(({ check, what }) => `${check} ${what}`);
  expect(await found()).toEqual([]);
  await tally.publish(theirs, { n: 1, customer: "c" });
  const mend = async (what: string, then: readonly string[]) => {
    for (const { check, fix } of (await tally.audit()).findings)
      if (check === what) await typed(cluster.nodes[0]!, fix, cluster.direct.join());
    await until(`${what} to be mended`, 30_000, async () => (await found()).join() === then.join());
  };
  const of = (check: string) => `${check} topic "${theirs.name}"`;
  expect(await found()).toEqual([of("replication-factor")]);
  await mend("replication-factor", [of("min-insync-replicas")]);
  await mend("min-insync-replicas", []);
  await cluster.nodes[2]!.kill();
  await until("the dead node to be missed", 30_000, async () => (await found()).includes(of("in-sync")));
  expect((await found()).filter((one) => !one.startsWith("in-sync "))).toEqual([]);
  await cluster.nodes[2]!.start();
  await cluster.inSync(theirs.name);
});

it("the leader dies with its consumers behind: they go on from where they were, and what is gone is named all the same", async () => {
  const orders = ordersTopic();
  const { tally: shop } = await open(orders, { partitions: 1 });
  const consumer = await open(orders, { partitions: 1, fetchBytes: 1_024 });
  const go = Promise.withResolvers<void>();
  const seen: number[] = [];
  await consumer.tally
    .consumer("billing", { effect: "none", lanes: 1, credit: 1 })
    .on(orders, async ({ n }) => {
      if (n === 100) await go.promise;
      seen.push(n);
    })
    .start();
  for (let n = 0; n < 100; n++) await shop.publish(orders, { n, customer: "c" });
  await until("100 messages", 30_000, () => seen.length === 100);
  for (let n = 100; n < 400; n++) await shop.publish(orders, { n, customer: "c" });
  const leader = await cluster.leaderOf(orders.name);
  await leader.kill();
  go.resolve();
  await until("the rest, from another leader", 60_000, () => new Set(seen).size === 400);
  expect(consumer.said("gap")).toEqual([]);
  await leader.start();
  await cluster.inSync(orders.name);
  // Now they are gone for good, and nobody may pass over that.
  await consumer.tally.close();
  await until("all of it committed", 10_000, async () => (await lagOf(orders.name)) <= 1);
  for (let n = 400; n < 500; n++) await shop.publish(orders, { n, customer: "c" });
  await admin.fetchTopicOffsets(orders.name);
  await admin.deleteTopicRecords({ topic: orders.name, partitions: [{ partition: 0, offset: "450" }] });
  const next = await cluster.leaderOf(orders.name);
  await next.kill();
  await cluster.leaderOf(orders.name);
  const late = await open(orders, { partitions: 1 });
  const start = late.tally
    .consumer("billing")
    .on(orders, async () => {})
    .start();
  await expect(start).rejects.toMatchObject({
    code: "topology",
    message: expect.stringMatching(/ to 449 .* are gone/),
  });
  expect(late.said("gap")).not.toEqual([]);
  await next.start();
});
