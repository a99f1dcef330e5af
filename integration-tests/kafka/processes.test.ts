// What one process leaves to the next, and what those of one group tell each other, on one broker.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { deadLetter, openTally, type TallyEvent, topic } from "@tallymq/core";
import { kafka } from "@tallymq/kafka";
import { sqlite } from "@tallymq/store-sqlite";
import { Kafka, logLevel } from "kafkajs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { until } from "../brokers/engine/wait.ts";
import { type KafkaNode, startKafka } from "../brokers/index.ts";

let node: KafkaNode;
beforeAll(async () => void (node = await startKafka()));
afterAll(() => node.stop());

async function lengthOf(name: string): Promise<number> {
  const admin = new Kafka({ brokers: [node.direct], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  const ends = await admin.fetchTopicOffsets(name);
  await admin.disconnect();
  return ends.reduce((sum, { high }) => sum + Number(high), 0);
}

/** How far group "g" is in partition 0. */
async function committedOf(name: string): Promise<number> {
  const admin = new Kafka({ brokers: [node.direct], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  const [found] = await admin.fetchOffsets({ groupId: `${name}.g`, topics: [name] });
  await admin.disconnect();
  return Number(found!.partitions[0]!.offset);
}

/** Where each id lies, once for each copy, as another client reads it: `topic/partition`. */
async function copiesOf(topics: readonly string[]): Promise<ReadonlyMap<string, readonly string[]>> {
  const found = new Map<string, string[]>();
  const client = new Kafka({ brokers: [node.direct], logLevel: logLevel.NOTHING });
  let left = 0;
  for (const name of topics) left += await lengthOf(name);
  const reader = client.consumer({ groupId: `reader-${topics.join("-")}` });
  await reader.connect();
  await reader.subscribe({ topics: [...topics], fromBeginning: true });
  await reader.run({
    autoCommit: false,
    eachMessage: async ({ topic: name, partition, message }) => {
      const id = String(message.headers?.["tally-id"]);
      found.set(id, [...(found.get(id) ?? []), `${name}/${partition}`]);
      left--;
    },
  });
  await until("the whole log", 30_000, () => left <= 0);
  await reader.disconnect();
  return found;
}

it("a message without a key that was in doubt goes to its partition again when another process sends it, and to no other topic", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tally-kept-"));
  const [orders, invoices] = ["kept-orders", "kept-invoices"].map((name) => topic<number>(name, { groups: ["g"] }));
  const events: TallyEvent[] = [];
  const open = (brokers: readonly string[], topics: readonly (typeof orders)[]) =>
    openTally({
      service: "shop",
      broker: kafka({ brokers, partitions: 6, requestTimeout: "1s" }),
      outbox: sqlite(join(folder, "outbox.db")),
      topics: topics as never,
      spill: { after: "500ms" },
      onEvent: (event) => void events.push(event),
    });
  try {
    const first = await open([node.proxied], [orders, invoices]);
    // Some traffic first, so that partitions have been taken in turn.
    for (let n = 0; n < 4; n++) await first.publish(orders!, n, { id: `warm-${n}` });
    node.proxy.halfOpen("broker");
    const ids = Array.from({ length: 10 }, (_, n) => `m-${n}`);
    const receipts = await Promise.all(ids.map((id, n) => first.publish(orders!, n, { id })));
    expect(new Set(receipts.map(({ state }) => state))).toEqual(new Set(["stored"]));
    await first.close({ within: "100ms" });
    node.proxy.cut();
    await node.proxy.heal();

    await using second = await open([node.direct], [invoices, orders]);
    for (let n = 0; n < 7; n++) await second.publish(invoices!, n, { id: `i-${n}` });
    await until("each copy in the log", 30_000, async () => (await lengthOf(orders!.name)) === 24);
    const copies = await copiesOf([orders!.name, invoices!.name]);
    const of = ids.map((id) => copies.get(id)!);
    // The first copies are in the log: only their answers were lost.
    expect(of.map((one) => one.length)).toEqual(ids.map(() => 2));
    for (const one of of) {
      expect(new Set(one).size).toBe(1);
      expect(one[0]).toContain(orders!.name);
    }
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it("what was done beyond the committed offset is read back from the commit: a restart runs none of it again", async () => {
  const orders = topic<{ readonly n: number; readonly key: string }>("kept-progress", {
    key: (o) => o.key,
    groups: ["g"],
  });
  const open = () =>
    openTally({
      service: "shop",
      broker: kafka({ brokers: [node.direct], partitions: 1, heartbeat: "200ms", fetchWait: "50ms" }),
      topics: [orders],
    });
  const first = await open();
  for (let n = 0; n <= 100; n++) await first.publish(orders, { n, key: n === 0 ? "slow" : `k${n % 7}` });
  const done: number[] = [];
  await first
    .consumer("g", { effect: "none", lanes: 8 })
    .on(orders, async ({ n }, { signal }) => {
      // Ended by the close, and not settled.
      if (n === 0) await new Promise((_, reject) => signal.addEventListener("abort", () => reject(signal.reason)));
      done.push(n);
    })
    .start();
  await until("a hundred, past the first", 30_000, () => done.length === 100);
  await first.close({ within: "500ms" });
  await using second = await open();
  await second.publish(orders, { n: 101, key: "last" });
  const again: number[] = [];
  await second
    .consumer("g", { effect: "none", lanes: 1 })
    .on(orders, ({ n }) => void again.push(n))
    .start();
  await until("the last one", 30_000, () => again.includes(101));
  expect(again).toEqual([0, 101]);
});

it("rule 2: equal messages of a stranger, without ids, are an effect each, and no more when the group is given them again", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tally-places-"));
  const orders = topic<{ readonly n: number }>("kept-places", { groups: ["g"] });
  const seen: number[] = [];
  const events: TallyEvent[] = [];
  const consuming = async () => {
    const tally = await openTally({
      service: "shop",
      broker: kafka({ brokers: [node.direct], partitions: 1, heartbeat: "200ms", fetchWait: "50ms" }),
      inbox: sqlite(join(folder, "inbox.db")),
      topics: [orders],
      onEvent: (event) => void events.push(event),
    });
    await tally
      .consumer("g", { effect: "marked" })
      .on(orders, ({ n }) => void seen.push(n))
      .start();
    return tally;
  };
  try {
    const first = await consuming();
    const client = new Kafka({ brokers: [node.direct], logLevel: logLevel.NOTHING });
    const stranger = client.producer();
    await stranger.connect();
    await stranger.send({ topic: orders.name, messages: [{ value: '{"n":7}' }, { value: '{"n":7}' }] });
    await stranger.disconnect();
    await until("an effect each", 20_000, () => seen.length === 2);
    await first.close();
    const admin = client.admin();
    await admin.connect();
    await admin.setOffsets({
      groupId: `${orders.name}.g`,
      topic: orders.name,
      partitions: [{ partition: 0, offset: "0" }],
    });
    await admin.disconnect();
    await using second = await consuming();
    await second.publish(orders, { n: 8 });
    await until("what comes after them", 20_000, () => seen.includes(8));
    expect(seen).toEqual([7, 7, 8]);
    expect(events.filter(({ type }) => type === "duplicate")).toHaveLength(2);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

it("a handler takes longer than a session time-out: nobody else is given its message, others go on meanwhile, and a deadline of its own ends it", async () => {
  const orders = topic<{ readonly n: number; readonly key: string }>("kept-heartbeats", {
    key: (o) => o.key,
    groups: ["g"],
  });
  const events: TallyEvent[] = [];
  const runs: number[] = [];
  let meanwhile = 0;
  const consuming = async () => {
    const tally = await openTally({
      service: "shop",
      broker: kafka({ brokers: [node.direct], partitions: 1, sessionTimeout: "2s", heartbeat: "200ms" }),
      topics: [orders],
      onEvent: (event) => void events.push(event),
    });
    await tally
      .consumer("g", { effect: "none", lanes: 8, processingDeadline: "6s", onError: () => deadLetter("too late") })
      .on(orders, async ({ n }, { signal }) => {
        runs.push(n);
        if (n > 0) return;
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        meanwhile = runs.length - 1;
        throw signal.reason;
      })
      .start();
    return tally;
  };
  await using one = await consuming();
  // Has the partition, or would have it once the other is not heard of for too long.
  await using _other = await consuming();
  const all = Array.from({ length: 101 }, (_, n) => ({ n, key: n === 0 ? "slow" : `k${n % 7}` }));
  await Promise.all(all.map((order) => one.publish(orders, order)));
  const said = (type: TallyEvent["type"]) => events.filter((event) => event.type === type);
  await until("its deadline", 20_000, () => said("dead-lettered").length === 1);
  expect(meanwhile).toBe(100);
  expect(said("attempt-failed")).toMatchObject([{ error: { code: "handler-deadline" } }]);
  await until("all of it settled", 10_000, async () => (await committedOf(orders.name)) === 101);
  expect(runs.filter((n) => n === 0)).toEqual([0]);
  for (const type of ["session-lost", "unsettled", "reconnect"] as const) expect(said(type)).toEqual([]);
});

describe("two processes of one group, each with an inbox of its own", () => {
  const folder = mkdtempSync(join(tmpdir(), "tally-inboxes-"));
  afterAll(() => rmSync(folder, { recursive: true }));
  let names = 0;
  const member = async (name: string, durability: "warn" | "enforce", inbox: string) => {
    const orders = topic<number>(name, { groups: ["g"] });
    const events: TallyEvent[] = [];
    const tally = await openTally({
      service: "shop",
      broker: kafka({ brokers: [node.direct], partitions: 2, heartbeat: "200ms", fetchWait: "50ms" }),
      inbox: sqlite(join(folder, `${inbox}.db`)),
      durability,
      onEvent: (event) => void events.push(event),
    });
    const start = () =>
      tally
        .consumer("g")
        .on(orders, () => {})
        .start();
    return { tally, start, differ: () => events.filter(({ type }) => type === "inbox-differs").length };
  };

  it("find each other out, whoever came first, and both go on; with one inbox there is nothing to find", async () => {
    const name = `inboxes-${++names}`;
    const a = await member(name, "warn", "a");
    await using _a = a.tally;
    await a.start();
    const same = await member(name, "warn", "a");
    await using _same = same.tally;
    await same.start();
    const b = await member(name, "warn", "b");
    await using _b = b.tally;
    await b.start();
    await until("all three to know", 30_000, () => [a, same, b].every(({ differ }) => differ() === 1));
    expect((await a.tally.audit()).findings.map(({ check, severity }) => `${check} ${severity}`)).toContain(
      "inbox-scope error",
    );
  });

  it('durability: "enforce" keeps the second one from starting', async () => {
    const name = `inboxes-${++names}`;
    const a = await member(name, "enforce", "c");
    await using _a = a.tally;
    await a.start();
    const b = await member(name, "enforce", "d");
    await using _b = b.tally;
    await expect(b.start()).rejects.toMatchObject({
      code: "bad-config",
      message: expect.stringContaining("another inbox"),
    });
  });
});
