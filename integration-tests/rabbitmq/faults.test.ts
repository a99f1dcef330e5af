import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { TopicPlan, Transport } from "@tallymq/core/spi";
import { type Proxy, type RabbitNode, startRabbit } from "../brokers/index.ts";
import { messages, openTransport, plan, Receiving, Sending, signal } from "./stage.ts";

// A node of its own: it is killed, frozen and filled.
let node: RabbitNode;
let proxy: Proxy;
let names = 0;
const open: Transport[] = [];

beforeAll(async () => {
  node = await startRabbit();
  proxy = await node.proxy();
});
afterAll(() => node.stop());
afterEach(async () => {
  await proxy.heal();
  await Promise.all(open.splice(0).map((transport) => transport[Symbol.asyncDispose]()));
});

function transport(options: Parameters<typeof openTransport>[1] = {}): Transport {
  const made = openTransport(node.urlVia(proxy), options);
  open.push(made);
  return made;
}

function fresh(given: Partial<TopicPlan> = {}): TopicPlan {
  return plan(`topic-${++names}`, given);
}

// Three heartbeats of 1 s, and as much again for a machine that is busy: the driver's own default takes 180 s.
const HEARTBEATS_MS = 6_000;

describe("the broker goes", () => {
  it("kill -9 under load: what was accepted is there after the restart, the rest is in doubt, nothing else", async () => {
    const topic = fresh();
    const mine = transport();
    const sending = await Sending.open(mine, topic);
    await sending.send(messages(topic, 100));
    await node.admin.flushDeclares();
    const posted = [...messages(topic, 100)];
    const killed = node.kill();
    while (sending.losses.length === 0) {
      const batch = messages(topic, 50, posted.length + 1);
      posted.push(...batch);
      sending.post(batch);
      await new Promise((resolve) => setTimeout(resolve, 5));
    }
    await killed;
    const kinds = await sending.kinds(posted);
    expect(new Set(kinds).size).toBeGreaterThan(1);
    expect([...new Set(kinds)].every((kind) => ["accepted", "doubt", "unsent"].includes(kind))).toBe(true);
    await node.start();
    const receiving = await Receiving.open(transport(), topic, { credit: 10_000 });
    const accepted = posted.filter((_, i) => kinds[i] === "accepted").map((m) => m.id);
    await receiving.until("all that was accepted", () => new Set(receiving.ids).isSupersetOf(new Set(accepted)));
    const unsent = new Set(posted.filter((_, i) => kinds[i] === "unsent").map((m) => m.id));
    expect(receiving.ids.filter((id) => unsent.has(id!))).toEqual([]);
  });

  it("SIGSTOP: no verdict, then doubt at the heartbeat; after SIGCONT some of them may be there", async () => {
    const topic = fresh();
    const mine = transport({ heartbeat: "1s" });
    const sending = await Sending.open(mine, topic);
    await sending.send(messages(topic, 1));
    await node.pause();
    const since = performance.now();
    const doubtful = messages(topic, 3, 2);
    try {
      expect(await sending.send(doubtful, 10_000)).toEqual(["doubt", "doubt", "doubt"]);
    } finally {
      await node.unpause();
    }
    expect(performance.now() - since).toBeLessThan(HEARTBEATS_MS);
    expect(sending.error("m2").mayArrive).toBe(true);
    // Neither "failed" nor "sent" would be true: how much of what the socket held the broker still reads, now that the
    // other end is gone, is chance (all four and two of them have been seen). What was confirmed is there.
    await expect
      .poll(() => transport().admin.backlog(topic.name, "g", signal()), { timeout: 10_000 })
      .toBeGreaterThan(0);
    expect(await transport().admin.backlog(topic.name, "g", signal())).toBeLessThanOrEqual(4);
  });

  it("a half-open connection is noticed within three heartbeats, by both roles", async () => {
    const topic = fresh();
    const mine = transport({ heartbeat: "1s" });
    const sending = await Sending.open(mine, topic);
    const receiving = await Receiving.open(mine, topic);
    proxy.halfOpen();
    const since = performance.now();
    sending.post(messages(topic, 1));
    await Promise.all([
      sending.until("the sender's loss", () => sending.losses.length > 0, 5_000),
      receiving.until("the receiver's loss", () => receiving.losses.length > 0, 5_000),
    ]);
    expect(performance.now() - since).toBeLessThan(HEARTBEATS_MS);
    expect(await sending.kinds(messages(topic, 1))).toEqual(["doubt"]);
    // Our side has let go of the sockets: nothing of them keeps the process.
    await proxy.heal();
    await expect.poll(() => proxy.connections).toBe(0);
  });

  it("all connections closed by an operator: lost with the operator's words, and the next session works", async () => {
    const topic = fresh();
    const mine = transport();
    const sending = await Sending.open(mine, topic);
    const receiving = await Receiving.open(mine, topic);
    await node.admin.closeAllConnections("maintenance at noon");
    await sending.until("the loss", () => sending.losses.length > 0);
    await receiving.until("the loss", () => receiving.losses.length > 0);
    expect(sending.losses[0]).toMatchObject({
      code: "session-lost",
      retryable: true,
      message: expect.stringContaining("maintenance at noon") as string,
    });
    expect(receiving.losses[0]!.message).toContain("maintenance at noon");
    expect(await (await Sending.open(mine, topic)).send(messages(topic, 1))).toEqual(["accepted"]);
  });

  it("cut after byte N of a publish, for N up to its end: in doubt or accepted, and what was accepted is there", async () => {
    const topic = fresh();
    await transport().admin.declare([topic], signal());
    let stored = 0;
    for (let n = 0; n < 260; n += 13) {
      const mine = transport();
      const sending = await Sending.open(mine, topic);
      void proxy.cutAfter({ bytes: Math.max(1, n) });
      const [kind] = await sending.send(messages(topic, 1));
      await mine[Symbol.asyncDispose]();
      await proxy.heal();
      if (kind === "accepted") stored++;
      else expect(kind).toBe("doubt");
    }
    // Each copy in doubt may be there; each that was accepted is.
    expect(await transport().admin.backlog(topic.name, "g", signal())).toBeGreaterThanOrEqual(stored);
  });
});

describe("an alarm", () => {
  it.each(["memory", "disk"] as const)(
    "rule 23: a %s alarm is told with the first publish after it and stops sending; acks go on, on their own connection; its end is told",
    async (alarm) => {
      const topic = fresh();
      const mine = transport();
      const sending = await Sending.open(mine, topic);
      const receiving = await Receiving.open(mine, topic);
      await sending.send(messages(topic, 20));
      const deliveries = await receiving.first(20);
      await node.admin.setAlarm(alarm);
      try {
        expect(sending.journal).toEqual([]);
        const held = messages(topic, 1, 21);
        sending.post(held);
        await sending.until("blocked", () => sending.journal.length > 0);
        expect(sending.journal[0]).toMatch(/^blocked: low on /);
        expect(await sending.send(messages(topic, 1, 22))).toEqual(["unsent"]);
        // The other connection is read: an ack stands not still. Counts are up to 5 s old.
        const unacknowledged = async (): Promise<number | undefined> =>
          (await node.admin.queues()).find(({ name }) => name === `${topic.name}.g`)?.unacknowledged;
        await expect.poll(unacknowledged, { timeout: 20_000, interval: 500 }).toBe(20);
        receiving.ack(...deliveries);
        await expect.poll(unacknowledged, { timeout: 20_000, interval: 500 }).toBe(0);
        await node.admin.clearAlarm(alarm);
        expect(await sending.kinds(held)).toEqual(["accepted"]);
        expect(sending.journal.slice(1)).toEqual(["unblocked"]);
      } finally {
        await node.admin.clearAlarm(alarm);
      }
      expect(receiving.losses).toEqual([]);
    },
  );
});
