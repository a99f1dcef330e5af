import { memoryOutbox } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { topic } from "../../src/topic.ts";
import { accepted, nack, watch } from "../support/scripted-transport.ts";
import { heal, open, type Order, outage, plain, type Spilling } from "../support/spilling.ts";

const bad = topic<Order>("bad");
const badKeys = topic<Order>("bad", { key: (o) => o.key, ordered: true });
const off = topic<Order>("bad", { outbox: "off" });

/** A broker that nacks one topic for as long as it is full, and takes all else at once. */
async function half(outbox = memoryOutbox()): Promise<Spilling & { full: boolean }> {
  const s = Object.assign(await open({ window: 10, deadline: "1h" }, outbox), { full: true });
  s.r.atOnce = ({ message }) => (message.topic === "bad" && s.full ? nack() : accepted);
  await s.settle();
  return s;
}

async function pass(s: Spilling, seconds: number): Promise<void> {
  for (let i = 0; i < seconds * 2; i++) {
    await s.r.clock.advance(500);
    await s.settle();
  }
}

describe("one topic that the broker does not take, with an outbox", () => {
  it("is stored at once, and others are published past it", async () => {
    const s = await half();
    const stuck = Array.from({ length: 30 }, (_, n) => watch(s.r.publisher.publish(bad, { key: "a", n })));
    await pass(s, 2);
    expect(stuck.map((p) => p.value?.state)).toEqual(Array.from({ length: 30 }, () => "stored"));
    const later = watch(s.r.publisher.publish(bad, { key: "a", n: 99 }));
    const other = watch(s.r.publisher.publish(plain, { key: "a", n: 1 }));
    await s.settle();
    expect([later.value?.state, other.value?.state]).toEqual(["stored", "confirmed"]);
    s.full = false;
    await pass(s, 40);
    expect([s.outbox.rows.length, s.r.publisher.breakers.length]).toEqual([0, 0]);
    const direct = watch(s.r.publisher.publish(bad, { key: "a", n: 100 }));
    await s.settle();
    expect(direct.value?.state).toBe("confirmed");
  });

  it("does not starve the rows of others, however many of its rows stand before them", async () => {
    const outbox = memoryOutbox();
    const s = await half(outbox);
    await outage(s);
    // More than the relay has on its way at once (100), and than the window takes.
    const rows = Array.from({ length: 250 }, (_, n) => watch(s.r.publisher.publish(badKeys, { key: `k${n % 7}`, n })));
    for (let i = 0; i < 30; i++) await s.settle();
    const others = Array.from({ length: 20 }, (_, n) => watch(s.r.publisher.publish(plain, { key: "a", n })));
    for (let i = 0; i < 5; i++) await s.settle();
    expect([...rows, ...others].every((p) => p.value?.state === "stored")).toBe(true);
    await heal(s);
    await pass(s, 10);
    expect(outbox.rows.filter((row) => row.message.topic === "plain")).toHaveLength(0);
    expect(outbox.rows).toHaveLength(250);
    expect(s.r.count("breaker-open")).toBe(1);
    const before = s.r.copies.length;
    await pass(s, 60);
    expect(s.r.copies.length - before).toBeLessThan(20);

    s.full = false;
    await pass(s, 60);
    expect([outbox.rows.length, outbox.parked.length, s.r.publisher.breakers.length]).toEqual([0, 0, 0]);
    const last = new Map(s.r.copies.filter((c) => c.message.topic === "bad").map((c) => [c.message.seq, c.message]));
    for (let key = 0; key < 7; key++) {
      const seqs = [...last.values()].filter((m) => m.key === `k${key}`).map((m) => m.seq);
      expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
    }
    expect(s.r.publisher.live).toBe(0);
  });

  it("does not wait in the window behind rows of its keys that do not move", async () => {
    const s = await half();
    await outage(s);
    for (const key of "abcdefgh") void s.r.publisher.publish(badKeys, { key, n: 1 });
    for (const n of [1, 2]) void s.r.publisher.publish(plain, { key: "a", n });
    await s.settle();
    // The rows of the good topic are on their way and get no verdict: the relay is at work, and what is fenced waits for it.
    s.r.atOnce = ({ message }) => (message.topic === "bad" ? nack() : null);
    await heal(s);
    await pass(s, 2);
    expect(s.r.publisher.breakers).toHaveLength(1);
    const stored = Array.from({ length: 20 }, (_, n) => watch(s.r.publisher.publish(badKeys, { key: "a", n: 10 + n })));
    for (let i = 0; i < 5; i++) await s.settle();
    expect(stored.filter((p) => p.value?.state === "stored")).toHaveLength(20);
  });

  it("whose messages may not be stored waits outside of the window", async () => {
    const s = await half();
    const stuck = Array.from({ length: 30 }, (_, n) => watch(s.r.publisher.publish(off, { key: "a", n })));
    await pass(s, 3);
    const other = watch(s.r.publisher.publish(plain, { key: "a", n: 1 }));
    await s.settle();
    expect([other.value?.state, s.outbox.rows.length]).toEqual(["confirmed", 0]);
    s.full = false;
    await pass(s, 40);
    expect(stuck.map((p) => p.value?.state)).toEqual(Array.from({ length: 30 }, () => "confirmed"));
  });
});
