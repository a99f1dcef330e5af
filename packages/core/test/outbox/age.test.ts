import { memoryOutbox } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import type { NewRow } from "../../src/stores.ts";
import { topic } from "../../src/topic.ts";
import { accepted } from "../support/scripted-transport.ts";
import { ids, open, type Order, ordered, outage, plain, type Spilling } from "../support/spilling.ts";

const DAY = 86_400_000;

/** A process whose messages got into its outbox, the first of them in doubt, and that then ended; the wall clock is the test's. */
async function left(s: Spilling, publish: () => void): Promise<void> {
  await s.settle();
  publish();
  await s.settle();
  await outage(s);
  await s.r.clock.advance(5_000); // and gives up the lease
  await s.settle();
}

describe("a row that may have been sent before", () => {
  it("rule 12: a row that may have been sent before is parked, not sent, when it is older than its topic's dedupeFor; one that was never sent goes at any age", async () => {
    let wall = 1_000 * DAY;
    const outbox = memoryOutbox();
    const first = await open({ wall: () => wall }, outbox);
    await left(first, () => void first.r.publisher.publish(plain, { key: "a", n: 1 }, { id: "sent" }).catch(() => {}));
    void first.r.publisher.publish(plain, { key: "a", n: 2 }, { id: "never-sent" });
    await first.settle();
    expect(outbox.rows.map((row) => [row.message.id, row.doubtful])).toEqual([
      ["sent", true],
      ["never-sent", false],
    ]);

    wall += 7 * DAY + 60_000;
    const second = await open({ wall: () => wall }, outbox);
    await second.settle();
    await second.accept();
    expect(ids(second.r)).toEqual(["never-sent"]);
    expect(outbox.parked.map((p) => [p.row.message.id, p.code])).toEqual([["sent", "in-doubt"]]);
    expect(outbox.parked[0]?.reason).toMatch(/604860 s ago, and plain is deduplicated for 604800 s/);
    expect(second.r.count("parked")).toBe(1);
    expect(outbox.rows).toHaveLength(0);

    // A person has looked, and takes it upon himself.
    const store = await outbox.openOutbox({ clock: second.r.clock, random: {} as never, surfaced: () => {} });
    expect(await store.replay(outbox.parked[0]?.row.place ?? 0)).toBe(true);
    await second.r.clock.advance(2_000);
    await second.accept();
    expect(ids(second.r)).toEqual(["never-sent", "sent"]);
    expect(outbox.rows).toHaveLength(0);
  });

  it("rule 12: so is one that was on its way when its process was killed, and what that one had not been given goes", async () => {
    let wall = 1_000 * DAY;
    const outbox = memoryOutbox();
    const first = await open({ wall: () => wall }, outbox);
    await first.settle();
    await outage(first);
    await first.r.clock.advance(5_000);
    for (const n of [1, 2]) void first.r.publisher.publish(plain, { key: "a", n }, { id: `m${n}` });
    await first.settle();
    const second = await open({ wall: () => wall }, outbox);
    await second.settle();
    expect(ids(second.r)).toEqual(["m1", "m2"]);
    second.r.copies.find((copy) => copy.message.id === "m1")?.verdict(accepted);
    await second.r.clock.advance(20);
    await second.settle();
    // It is killed here, before m2 has its verdict: nothing is given back, nothing is told.
    outbox.stealLease();
    const closing = second.r.publisher.close(0);
    await second.r.clock.advance(5_000);
    await closing;
    void first.r.publisher.publish(plain, { key: "a", n: 3 }, { id: "m3" });
    await first.settle();
    wall += 8 * DAY;
    const third = await open({ wall: () => wall }, outbox);
    await third.settle();
    await third.accept();
    expect(ids(third.r)).toEqual(["m3"]);
    expect(outbox.parked.map((p) => [p.row.message.id, p.code])).toEqual([["m2", "in-doubt"]]);
  });

  it("is sent up to that age", async () => {
    let wall = 1_000 * DAY;
    const outbox = memoryOutbox();
    const first = await open({ wall: () => wall }, outbox);
    await left(first, () => void first.r.publisher.publish(plain, { key: "a", n: 1 }, { id: "sent" }).catch(() => {}));
    wall += 7 * DAY - 60_000;
    const second = await open({ wall: () => wall }, outbox);
    await second.settle();
    await second.accept();
    expect(ids(second.r)).toEqual(["sent"]);
  });

  it("carries its topic's limit: a process that never saw the topic keeps to it", async () => {
    const brief = topic<Order>("brief", { dedupeFor: "1h" });
    let wall = 1_000 * DAY;
    const outbox = memoryOutbox();
    const first = await open({ wall: () => wall }, outbox);
    await left(first, () => void first.r.publisher.publish(brief, { key: "a", n: 1 }, { id: "sent" }).catch(() => {}));
    expect(outbox.rows[0]?.dedupeForMs).toBe(3_600_000);
    wall += 3_600_000 + 60_000;
    const second = await open({ wall: () => wall }, outbox);
    await second.settle();
    await second.accept();
    expect([ids(second.r), outbox.parked.length]).toEqual([[], 1]);
  });

  it("of before rows said so has the default limit", async () => {
    let wall = 1_000 * DAY;
    const outbox = memoryOutbox();
    const store = await outbox.openOutbox({
      clock: { wall: () => wall } as never,
      random: {} as never,
      surfaced: () => {},
    });
    const row = (id: string): NewRow => ({
      destination: "scripted",
      slot: null,
      doubtful: true,
      lane: null,
      dedupeForMs: null,
      message: { id, topic: "plain", ordered: false, key: null, body: new Uint8Array(1), headers: {} } as never,
    });
    await store.put([row("old")]);
    wall += 7 * DAY;
    await store.put([row("young")]);
    wall += 60_000;
    const s = await open({ wall: () => wall }, outbox);
    await s.settle();
    await s.accept();
    expect([ids(s.r), outbox.parked.map((p) => p.row.message.id)]).toEqual([["young"], ["old"]]);
  });

  it("and lies in the future has an age that nobody knows: parked; a clock put right by seconds parks nothing", async () => {
    let wall = 1_000 * DAY;
    const outbox = memoryOutbox();
    const first = await open({ wall: () => wall }, outbox);
    await left(first, () => void first.r.publisher.publish(plain, { key: "a", n: 1 }, { id: "m1" }).catch(() => {}));
    wall -= 30_000;
    const second = await open({ wall: () => wall }, outbox);
    await left(second, () => void second.r.publisher.publish(plain, { key: "a", n: 2 }, { id: "m2" }).catch(() => {}));
    expect(ids(second.r)).toContain("m1");
    wall -= 10 * DAY;
    const third = await open({ wall: () => wall }, outbox);
    await third.settle();
    await third.accept();
    expect([ids(third.r), outbox.parked.length]).toEqual([[], 2]);
  });

  it("holds up its ordered key, also what was taken from the store together with it, and no other", async () => {
    let wall = 1_000 * DAY;
    const outbox = memoryOutbox();
    const first = await open({ wall: () => wall }, outbox);
    await left(first, () => {
      for (const [key, n] of [
        ["a", 1],
        ["a", 2],
        ["b", 1],
      ] as const)
        void first.r.publisher.publish(ordered, { key, n }, { id: `${key}${n}` }).catch(() => {});
    });
    expect(outbox.rows.map((row) => [row.message.id, row.doubtful])).toEqual([
      ["a1", true],
      ["b1", true],
      ["a2", false],
    ]);
    void first.r.publisher.publish(ordered, { key: "c", n: 1 }, { id: "c1" });
    await first.settle();
    wall += 8 * DAY;
    const second = await open({ wall: () => wall }, outbox);
    await second.settle();
    await second.accept();
    expect(ids(second.r)).toEqual(["c1"]);
    expect(outbox.parked.map((p) => p.row.message.id).toSorted()).toEqual(["a1", "b1"]);
    expect(outbox.rows.map((row) => row.message.id)).toEqual(["a2"]);
  });
});
