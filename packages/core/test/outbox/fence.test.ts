import { describe, expect, it } from "vitest";
import { TallyError } from "../../src/error.ts";
import { Fence, slotOf } from "../../src/outbox/fence.ts";
import { FENCE_SLOTS } from "../../src/stores.ts";
import { watch } from "../support/scripted-transport.ts";
import { heal, ids, open, ordered, outage, plain } from "../support/spilling.ts";

/** Two keys of the topic `ordered` that have one slot. */
function colliding(): readonly [string, string] {
  const seen = new Map<number, string>();
  for (let n = 0; ; n++) {
    const key = `k${n}`;
    const slot = slotOf("scripted", "ordered", key);
    const other = seen.get(slot);
    if (other !== undefined) return [other, key];
    seen.set(slot, key);
  }
}

describe("the fence", () => {
  it("rule 10: two keys of one slot share a fence: a detour through the outbox, never another order", async () => {
    const [a, b] = colliding();
    const s = await open();
    await s.settle();
    await outage(s);
    void s.r.publisher.publish(ordered, { key: a, n: 1 }, { id: "a1" });
    await s.settle();
    await heal(s);
    expect(ids(s.r)).toEqual(["a1"]);
    // Has no rows itself: it waits for those of the other all the same, and so does what follows it.
    const b1 = watch(s.r.publisher.publish(ordered, { key: b, n: 1 }, { id: "b1" }));
    const b2 = watch(s.r.publisher.publish(ordered, { key: b, n: 2 }, { id: "b2" }));
    const c1 = watch(s.r.publisher.publish(ordered, { key: "another", n: 1 }, { id: "c1" }));
    await s.settle();
    expect(ids(s.r)).toEqual(["a1", "c1"]);
    await s.accept();
    expect([b1.state, b2.state, c1.state]).toEqual(["resolved", "resolved", "resolved"]);
    expect(ids(s.r)).toEqual(["a1", "c1", "b1", "b2"]);
    expect(s.outbox.rows).toHaveLength(0);
  });

  it("rule 10: until the store has been read an ordered key is not sent past what may lie in it; other messages are", async () => {
    const s = await open();
    s.outbox.broken = new TallyError("store", "locked", { retryable: true });
    const a1 = watch(s.r.publisher.publish(ordered, { key: "a", n: 1 }, { id: "a1" }));
    const p1 = watch(s.r.publisher.publish(plain, { key: "a", n: 1 }, { id: "p1" }));
    await s.settle();
    await s.accept();
    // Through the outbox, which does not answer: not accepted, rather than sent past rows of its key.
    expect(a1).toMatchObject({ state: "rejected", error: { code: "store", mayArrive: false } });
    expect([p1.state, ids(s.r)]).toEqual(["resolved", ["p1"]]);
    s.outbox.broken = null;
    await s.r.clock.advance(5_000);
    await s.settle();
    const a2 = watch(s.r.publisher.publish(ordered, { key: "a", n: 2 }, { id: "a2" }));
    await s.accept();
    expect([a2.state, ids(s.r)]).toEqual(["resolved", ["p1", "a2"]]);
  });

  it("rule 10: the fence takes the same memory for ten keys and for a hundred thousand", () => {
    const fence = new Fence();
    fence.read(new Uint32Array(FENCE_SLOTS), []);
    const held = (): number =>
      Object.values(Object.getOwnPropertyDescriptors(fence)).length + JSON.stringify(fence).length;
    const before = held();
    const slots = new Set<number>();
    for (let n = 0; n < 100_000; n++) {
      const slot = slotOf("rabbitmq", "orders", `customer-${n}`);
      slots.add(slot);
      fence.add(slot);
    }
    expect(held()).toBe(before);
    expect(FENCE_SLOTS).toBe(65_536);
    // Spread as chance has it: a hundred thousand keys leave a fifth of the slots free.
    expect(slots.size / FENCE_SLOTS).toBeGreaterThan(0.76);
    expect(fence.total).toBe(100_000);
    expect(Math.max(...slots)).toBeLessThan(FENCE_SLOTS);
    expect(Math.min(...slots)).toBeGreaterThanOrEqual(0);
    expect([...slots].every((slot) => fence.closed(slot))).toBe(true);
    for (let n = 0; n < 100_000; n++) fence.remove(slotOf("rabbitmq", "orders", `customer-${n}`), true);
    expect([...slots].some((slot) => fence.closed(slot))).toBe(false);
  });

  it("rule 10: the slot of a key is the one that stands in stores already", () => {
    expect(slotOf("rabbitmq", "orders", "ada")).toBe(59_274);
    expect(slotOf("ab", "c", "d")).not.toBe(slotOf("a", "bc", "d"));
  });
});
