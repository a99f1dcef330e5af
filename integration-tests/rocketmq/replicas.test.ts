import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { openTally, type Receipt, topic } from "@tallymq/core";
import { rocketmq } from "@tallymq/rocketmq";
import { sqlite } from "@tallymq/store-sqlite";
import { afterAll, beforeAll, describe, expect, it, onTestFinished } from "vitest";
import { until } from "../brokers/engine/wait.ts";
import { type RocketNode, startRocket } from "../brokers/index.ts";
import { knows } from "../brokers/rocketmq/admin.ts";

interface Order {
  readonly n: number;
}

let names = 0;
const WAIT_MS = 60_000;
/** Half a minute each; three times as long on a busy machine. */
const TEST_MS = 240_000;

/** A shop that publishes one order after the other, in ten lines side by side, and bills each of them. */
async function open(node: RocketNode) {
  const folder = mkdtempSync(join(tmpdir(), "tally-replicas-"));
  const name = `replicated-${++names}`;
  const orders = topic<Order>(name, { groups: ["billing"] });
  const plain = topic<Order>(`${name}-plain`, { outbox: "off" });
  const broker = rocketmq({
    endpoints: [node.proxied],
    names: [node.names],
    ...{ invisible: "10s", heartbeat: "1s", receiveWait: "1s" },
  });
  const tally = await openTally({
    service: "shop",
    broker,
    topics: [orders, plain],
    outbox: sqlite(join(folder, "outbox.db")),
    inbox: sqlite(join(folder, "inbox.db")),
    // Or the way back is not looked for until half a minute after it is there.
    publish: { resendMax: "1s", breakerMax: "2s" },
  });
  onTestFinished(async () => {
    await tally.close({ within: "5s" });
    rmSync(folder, { recursive: true, force: true });
  });
  const effects = new Map<string, number>();
  await tally
    .consumer("billing")
    .on(orders, async (_, { id }) => void effects.set(id!, (effects.get(id!) ?? 0) + 1))
    .start();
  const receipts: Receipt[] = [];
  let [n, over] = [0, false];
  const line = async (): Promise<void> => {
    while (!over) {
      receipts.push(await tally.publish(orders, { n }, { id: `order-${n++}` }));
      await sleep(5);
    }
  };
  const lines = Promise.all(Array.from({ length: 10 }, line));
  // Awaited at the end; a rejection before must not be one of nobody's.
  lines.catch(() => {});
  return {
    receipts,
    /** Publishes what is never stored: a receipt, or the error. */
    direct: (deadline: `${number}s`) => tally.publish(plain, { n: 0 }, { deadline }),
    /** Replicas ask for topics and groups every ten seconds, and one that becomes master before has none. */
    known: () =>
      until("each replica to have topic and group", WAIT_MS, async () => {
        const there = [...node.brokers.values()].map((at) => knows(at, `${name}_billing_copies`, `${name}_billing`));
        return (await Promise.all(there)).every(Boolean);
      }),
    has: (count: number) => until(`${count} receipts`, WAIT_MS, () => receipts.length >= count),
    stored: () => receipts.filter(({ state }) => state === "stored").length,
    /** Ends the publishing: each has been accepted, and has had its effect, once. */
    async settled(): Promise<void> {
      over = true;
      await lines;
      await until("each effect", WAIT_MS, () => effects.size >= receipts.length).catch(() => {});
      const missing = receipts.filter(({ id }) => !effects.has(id));
      expect(missing).toEqual([]);
      expect([...effects].filter(([, count]) => count !== 1)).toEqual([]);
      expect(receipts.length).toBe(n);
    },
  };
}

describe("a master and a slave that is waited for (inSyncReplicas=2)", () => {
  let node: RocketNode;
  beforeAll(async () => {
    node = await startRocket({ shape: "replicated" });
    await until("the slave to be registered", WAIT_MS, async () => (await node.replicas()) === 2);
  });
  afterAll(() => node.stop());

  it(
    "while the slave is dead nothing is confirmed; the outbox carries it, and each effect comes once",
    { timeout: TEST_MS },
    async () => {
      const shop = await open(node);
      await shop.has(100);
      expect(await shop.direct("4s")).toMatchObject({ state: "confirmed" });
      await node.killPart("second");
      const before = shop.receipts.length;
      await until("messages to be stored instead", WAIT_MS, () => shop.stored() >= 50);
      // Those that were on their way may have been confirmed before the blow fell, ten at most.
      const dead = shop.receipts.slice(before).filter(({ state }) => state === "confirmed");
      expect(dead.length).toBeLessThanOrEqual(10);
      // Without an outbox whoever publishes is told that nobody knows.
      await expect(shop.direct("4s")).rejects.toMatchObject({ code: "deadline", mayArrive: true });
      await node.startPart("second");
      await until("direct sending", WAIT_MS, () => shop.receipts.at(-1)?.state === "confirmed");
      await shop.settled();
    },
  );
});

describe("three replicas and a controller", () => {
  let node: RocketNode;
  beforeAll(async () => {
    node = await startRocket({ shape: "controlled" });
    await until("all to be registered", WAIT_MS, async () => (await node.replicas()) === 3);
  });
  afterAll(() => node.stop());

  /** Each replica could go on with what is published. */
  async function atWork() {
    const shop = await open(node);
    await shop.known();
    await shop.has(100);
    return { shop, master: (await node.master())! };
  }

  it(
    "the master is killed: another one is elected, nothing is lost, no effect comes twice",
    { timeout: TEST_MS },
    async () => {
      const { shop, master } = await atWork();
      await node.killPart(master);
      await until("another master", WAIT_MS, async () => ![null, master].includes(await node.master()));
      const before = shop.receipts.length;
      await until("direct sending", WAIT_MS, () =>
        shop.receipts.slice(before).some(({ state }) => state === "confirmed"),
      );
      await shop.settled();
      await node.startPart(master);
      await until("all to be registered again", WAIT_MS, async () => (await node.replicas()) === 3);
    },
  );

  it(
    "with the master one of two that could follow is killed: the outbox carries the gap until there are two again; nothing is lost, no effect comes twice",
    { timeout: TEST_MS },
    async () => {
      const { shop, master } = await atWork();
      const other = [...node.brokers.keys()].find((part) => part !== master)!;
      // Of the master alone the gap may be over before there is anything to carry: another one is elected within a second.
      await Promise.all([node.killPart(master), node.killPart(other)]);
      await until("messages to be stored instead", WAIT_MS, () => shop.stored() >= 50);
      await node.startPart(other);
      await until("another master", WAIT_MS, async () => ![null, master].includes(await node.master()));
      await until("direct sending", WAIT_MS, () => shop.receipts.at(-1)?.state === "confirmed");
      await shop.settled();
    },
  );
});
