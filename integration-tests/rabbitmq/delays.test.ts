import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, afterEach, beforeAll, describe, expect, it } from "vitest";
import type { Outgoing, TopicPlan, Transport } from "@tallymq/core/spi";
import { type RabbitNode, startRabbit } from "../brokers/index.ts";
import { message, openTransport, outsider, plan, Receiving, Sending, signal } from "./stage.ts";

// A node of its own: it is killed, and its ladder of queues is looked at.
let node: RabbitNode;
let names = 0;
const open: Transport[] = [];

beforeAll(async () => {
  node = await startRabbit();
});
afterAll(() => node.stop());
afterEach(async () => {
  await Promise.all(open.splice(0).map((transport) => transport[Symbol.asyncDispose]()));
});

const HOUR = 3_600_000;

function transport(): Transport {
  const made = openTransport(node.url);
  open.push(made);
  return made;
}

async function delayed(mine: Transport, upToMs: number, given: Partial<TopicPlan> = {}): Promise<[TopicPlan, Sending]> {
  const topic = plan(`later-${++names}`, given);
  const sending = await Sending.open(mine, topic);
  await mine.admin.declareDelays(topic, upToMs, signal());
  return [topic, sending];
}

/** Names and ready messages of the queues that delay, those that hold something. */
async function ladder(longest: number): Promise<Record<string, number>> {
  await using other = await outsider(node.url);
  const held: Record<string, number> = {};
  for (let ttl = 64; ttl <= longest; ttl *= 2) {
    const { messageCount } = await other.channel.checkQueue(`tally.delay.${ttl}`);
    if (messageCount > 0) held[`tally.delay.${ttl}`] = messageCount;
  }
  return held;
}

describe("delays on RabbitMQ, without a plugin", () => {
  it("no queue for delays is there while nobody delays, and then only as many as the delay needs", async () => {
    const mine = transport();
    await Sending.open(mine, plan(`plain-${++names}`));
    const delays = async (): Promise<readonly string[]> =>
      (await node.admin.queues()).map(({ name }) => name).filter((name) => name.startsWith("tally.delay."));
    expect(await delays()).toEqual([]);
    await delayed(mine, 500);
    const steps = [64, 128, 256, 512].map((ttl) => `tally.delay.${ttl}`);
    expect((await delays()).toSorted()).toEqual([...steps, "tally.delay.nobody"].toSorted());
  });

  it("rule 17: 1 s published after 1 h arrives first, on time, with its own headers and no account of its hops", async () => {
    const mine = transport();
    const [topic, sending] = await delayed(mine, HOUR, { groups: ["g", "other"] });
    const receiving = await Receiving.open(mine, topic);
    const other = await Receiving.open(mine, topic, { group: "other" });
    const hour = message(topic, 1, { group: "g", delayMs: HOUR });
    const second = message(topic, 2, {
      group: "g",
      delayMs: 1_000,
      key: "k",
      attempt: 5,
      producer: "another",
      correlationId: "c",
      headers: { tenant: "acme" },
    });
    const began = performance.now();
    expect(await sending.send([hour, second])).toEqual(["accepted", "accepted"]);
    const [got] = await receiving.first(1);
    const after = performance.now() - began;
    expect(got!.message).toMatchObject({
      id: "m2",
      key: "k",
      attempt: 5,
      producer: "another",
      correlationId: "c",
      topic: topic.name,
    });
    expect({ ...got!.message.headers }).toEqual({ tenant: "acme" });
    expect(got!.count).toBe(1);
    console.info(`1 s came after ${Math.round(after)} ms`);
    expect(after).toBeGreaterThanOrEqual(1_000);
    expect(after).toBeLessThan(3_000);
    // The long one stands in the highest step of its sum: 2^21 ms and more.
    expect(await ladder(HOUR)).toEqual({ "tally.delay.2097152": 1 });
    expect([receiving.ids, other.ids]).toEqual([["m2"], []]);
    receiving.ack(got!);
  });

  it("2,000 messages with delays at random come not before their time, each once, the longer ones later", async () => {
    const mine = transport();
    const [topic, sending] = await delayed(mine, 4_096);
    const receiving = await Receiving.open(mine, topic, { credit: 10_000 });
    const began = performance.now();
    const due = new Map<string, number>();
    const batch = Array.from({ length: 2_000 }, (_, i) => {
      const delayMs = 1 + ((i * 7_919) % 4_000);
      return message(topic, i + 1, { group: "g", delayMs });
    });
    for (const m of batch) due.set(m.id, m.delayMs);
    expect(new Set(await sending.send(batch))).toEqual(new Set(["accepted"]));
    const late: number[] = [];
    let seen = 0;
    await receiving.until("all of them", () => {
      const now = performance.now() - began;
      for (; seen < receiving.deliveries.length; seen++)
        late.push(now - due.get(receiving.deliveries[seen]!.message.id!)!);
      return seen >= 2_000;
    });
    expect(new Set(receiving.ids).size).toBe(2_000);
    expect(Math.min(...late)).toBeGreaterThanOrEqual(0);
    const sorted = late.toSorted((a, b) => a - b);
    console.info(`late by ${Math.round(sorted[1_000]!)} ms (median), ${Math.round(sorted.at(-1)!)} ms (most)`);
    receiving.ack(...receiving.deliveries);
  });

  it("a broker killed with -9 between hops loses none, and hands none out early", async () => {
    const mine = transport();
    const [topic, sending] = await delayed(mine, 8_000);
    await node.admin.flushDeclares();
    const began = performance.now();
    const batch: Outgoing[] = Array.from({ length: 500 }, (_, i) =>
      message(topic, i + 1, { group: "g", delayMs: 100 + 15 * i }),
    );
    expect(new Set(await sending.send(batch))).toEqual(new Set(["accepted"]));
    // Some have arrived by now, some are in their second or third step, all steps are at work.
    await sleep(1_500);
    expect(Object.keys(await ladder(4_096)).length).toBeGreaterThan(2);
    await node.kill();
    await node.start();
    const receiving = await Receiving.open(transport(), topic, { credit: 10_000 });
    await receiving.until("all of them", () => new Set(receiving.ids).size === 500, 60_000);
    const after = performance.now() - began;
    expect(after).toBeGreaterThanOrEqual(100 + 15 * 499);
    expect(await ladder(4_096)).not.toHaveProperty("tally.delay.4096");
    receiving.ack(...receiving.deliveries);
  });

  it("what is due for a queue that was deleted is kept aside, and holds up nobody else", async () => {
    const mine = transport();
    const [gone, toGone] = await delayed(mine, 500);
    const [topic, sending] = await delayed(mine, 500);
    const receiving = await Receiving.open(mine, topic);
    await using other = await outsider(node.url);
    // More than a broker's dead-lettering has on its way at a time.
    const lost = Array.from({ length: 100 }, (_, i) => message(gone, i + 1, { group: "g", delayMs: 300 }));
    expect(new Set(await toGone.send(lost))).toEqual(new Set(["accepted"]));
    await other.channel.deleteQueue(`${gone.name}.g`);
    await sleep(100);
    await sending.send([message(topic, 1, { group: "g", delayMs: 400 })]);
    const [got] = await receiving.first(1);
    receiving.ack(got!);
    await expect.poll(() => node.admin.ready("tally.delay.nobody")).toBe(100);
  });

  it("a topic that somebody else declares has none: its queues would need a binding more", async () => {
    const made = openTransport(node.url, { topics: { theirs: { queue: "their-queue", declare: false } } });
    open.push(made);
    await using other = await outsider(node.url);
    await other.channel.assertQueue("their-queue", { durable: true });
    const theirs = plan("theirs");
    await made.admin.declare([theirs], signal());
    await expect(made.admin.declareDelays(theirs, 500, signal())).rejects.toMatchObject({ code: "unsupported" });
  });
});
