// One message a key on the wire: what that takes when things fail, and what does not have to wait for it.
import { describe, expect, it } from "vitest";
import { TallyError } from "../../src/error.ts";
import type { Outgoing } from "../../src/message.ts";
import type { StandardSchema } from "../../src/schema.ts";
import { topic } from "../../src/topic.ts";
import { accepted, nack, no, rig, watch } from "../support/scripted-transport.ts";

interface Order {
  readonly customer: string;
  readonly n: number;
}
const orders = topic<Order>("orders", { key: (o) => o.customer, ordered: true });
const order = (customer: string, n: number): Order => ({ customer, n });

describe("an ordered key", () => {
  it("rule 7: an ordered key has at most one message on the wire; a nack lets nothing overtake; other keys go on", async () => {
    const r = rig();
    const a1 = watch(r.publisher.publish(orders, order("a", 1), { id: "a1" }));
    const a2 = watch(r.publisher.publish(orders, order("a", 2), { id: "a2" }));
    const b1 = watch(r.publisher.publish(orders, order("b", 1), { id: "b1" }));
    await r.clock.advance(0);
    expect(r.copies.map((c) => c.message.id)).toEqual(["a1", "b1"]);
    r.copies[0]?.verdict(nack());
    r.copies[1]?.verdict(accepted);
    await r.clock.runUntil(() => r.copies.length === 3, 1_000);
    expect(r.copies[2]?.message.id).toBe("a1");
    r.copies[2]?.verdict(accepted);
    await r.clock.advance(0);
    expect(r.copies.slice(3).map((c) => c.message.id)).toEqual(["a2"]);
    r.copies[3]?.verdict(accepted);
    await r.clock.advance(0);
    expect([a1.state, a2.state, b1.state]).toEqual(["resolved", "resolved", "resolved"]);
  });

  it("goes on after a definite rejection of its head", async () => {
    const r = rig();
    const a1 = watch(r.publisher.publish(orders, order("a", 1), { id: "a1" }));
    void r.publisher.publish(orders, order("a", 2), { id: "a2" });
    await r.clock.advance(0);
    r.copies[0]?.verdict(no("refused"));
    await r.clock.advance(0);
    expect(a1.state).toBe("rejected");
    expect(r.copies.map((c) => c.message.id)).toEqual(["a1", "a2"]);
  });

  it("rule 7: an abort releases the caller, never the key: what is in doubt is carried to its end in the background", async () => {
    const r = rig({ resendMin: "1s" });
    const abort = new AbortController();
    const a1 = watch(r.publisher.publish(orders, order("a", 1), { id: "a1", signal: abort.signal }));
    void r.publisher.publish(orders, order("a", 2), { id: "a2" });
    await r.clock.advance(0);
    abort.abort();
    await r.clock.advance(0);
    expect(a1).toMatchObject({ state: "rejected", error: { code: "aborted", mayArrive: true, id: "a1" } });
    expect(r.copies).toHaveLength(1);
    r.sessions[0]?.lose();
    await r.clock.runUntil(() => r.copies.length === 2, 10_000);
    expect(r.copies[1]?.message.id).toBe("a1");
    r.copies[1]?.verdict(accepted);
    await r.clock.advance(0);
    expect(r.copies.map((c) => c.message.id)).toEqual(["a1", "a1", "a2"]);
  });

  it("a deadline does the same", async () => {
    const r = rig({ confirmTimeout: "15s" });
    const a1 = watch(r.publisher.publish(orders, order("a", 1), { id: "a1", deadline: "1s" }));
    void r.publisher.publish(orders, order("a", 2), { id: "a2" });
    await r.clock.advance(1_020);
    expect(a1).toMatchObject({ state: "rejected", error: { code: "deadline", mayArrive: true } });
    await r.clock.runUntil(() => r.copies.length === 2, 16_000);
    expect(r.copies[1]).toMatchObject({ session: 2, message: { id: "a1" } });
  });

  it("rule 7: withdrawn before its first copy left, definitely, and the key goes on without it", async () => {
    const r = rig();
    const abort = new AbortController();
    void r.publisher.publish(orders, order("a", 1), { id: "a1" });
    const a2 = watch(r.publisher.publish(orders, order("a", 2), { id: "a2", signal: abort.signal }));
    void r.publisher.publish(orders, order("a", 3), { id: "a3" });
    await r.clock.advance(0);
    abort.abort();
    await r.clock.advance(0);
    expect(a2).toMatchObject({ state: "rejected", error: { code: "aborted", mayArrive: false } });
    r.copies[0]?.verdict(accepted);
    await r.clock.advance(0);
    expect(r.copies.map((c) => c.message.id)).toEqual(["a1", "a3"]);
  });

  it("rule 8: an ordered key keeps the place of the call when validation is asynchronous, also with a full window", async () => {
    const gates = new Map<number, () => void>();
    const slow: StandardSchema<Order> = {
      "~standard": {
        version: 1,
        vendor: "test",
        validate: (value) =>
          new Promise((resolve) => gates.set((value as Order).n, () => resolve({ value: value as Order }))),
      },
    };
    const validated = topic("validated", { schema: slow, key: (o) => o.customer, ordered: true });
    const r = rig({ window: 2 });
    for (const n of [1, 2, 3]) void r.publisher.publish(validated, order("a", n), { id: `a${n}` });
    gates.get(3)?.();
    gates.get(2)?.();
    await r.clock.advance(10);
    expect(r.copies).toHaveLength(0);
    gates.get(1)?.();
    for (const n of [1, 2, 3]) {
      await r.clock.advance(10);
      expect(r.copies.at(-1)?.message.id).toBe(`a${n}`);
      expect(r.copies).toHaveLength(n);
      r.copies.at(-1)?.verdict(accepted);
    }
  });

  it("a body that fails its asynchronous validation gives up its place", async () => {
    const failing: StandardSchema<Order> = {
      "~standard": {
        version: 1,
        vendor: "test",
        validate: async (value) =>
          (value as Order).n === 1
            ? { issues: [{ message: "must not be 1", path: ["n"] }] }
            : { value: value as Order },
      },
    };
    const validated = topic("validated", { schema: failing, key: (o) => o.customer, ordered: true });
    const r = rig();
    const a1 = watch(r.publisher.publish(validated, order("a", 1), { id: "a1" }));
    void r.publisher.publish(validated, order("a", 2), { id: "a2" });
    await r.clock.advance(0);
    expect(a1).toMatchObject({ state: "rejected", error: { code: "schema", mayArrive: false } });
    expect(a1.error?.message).toContain("n: must not be 1");
    expect(r.copies.map((c) => c.message.id)).toEqual(["a2"]);
  });
});

describe("one batch in flight a lane (Kafka)", () => {
  it("what waits meanwhile becomes the next batch; other lanes are not held up", async () => {
    const plain = topic<Order>("plain", { key: (o) => o.customer });
    const r = rig({ traits: { inFlightPerLane: 1 }, lane: (m) => (m.key === "a" ? 0 : 1) });
    void r.publisher.publish(plain, order("a", 1), { id: "a1" });
    await r.clock.advance(0);
    for (const n of [2, 3]) void r.publisher.publish(plain, order("a", n), { id: `a${n}` });
    void r.publisher.publish(plain, order("b", 1), { id: "b1" });
    await r.clock.advance(0);
    expect(r.copies.map((c) => c.message.id)).toEqual(["a1", "b1"]);
    r.copies[0]?.verdict(accepted);
    await r.clock.advance(0);
    expect(r.copies.map((c) => c.message.id)).toEqual(["a1", "b1", "a2", "a3"]);
  });
});

describe("a broker whose messages wait for others of their lane (lingerMs)", () => {
  const lane = (m: Outgoing): number => (m.key === "a" ? 0 : 1);
  const lingering = { traits: { inFlightPerLane: 1, lingerMs: 20 }, lane } as const;
  const plain = topic<Order>("plain", { key: (o) => o.customer });

  it("sends them in one batch once the first has waited so long, each lane by itself", async () => {
    const r = rig(lingering);
    await r.clock.advance(0);
    const batches = (): readonly string[] =>
      [...Map.groupBy(r.copies, (c) => c.batch).values()].map((some) => some.map((c) => c.message.id).join());
    void r.publisher.publish(plain, order("a", 1), { id: "a1" });
    await r.clock.advance(15);
    void r.publisher.publish(plain, order("a", 2), { id: "a2" });
    void r.publisher.publish(plain, order("b", 1), { id: "b1" });
    await r.clock.advance(4);
    expect(batches()).toEqual([]);
    await r.clock.advance(1);
    expect(batches()).toEqual(["a1,a2"]);
    await r.clock.advance(15);
    expect(batches()).toEqual(["a1,a2", "b1"]);
    // Behind a batch that is out nothing waits any longer than for that.
    void r.publisher.publish(plain, order("a", 3), { id: "a3" });
    await r.clock.advance(1);
    for (const copy of r.sessions[0]!.open) copy.verdict(accepted);
    await r.clock.advance(0);
    expect(batches()).toEqual(["a1,a2", "b1", "a3"]);
  });

  it("does not keep a resend waiting", async () => {
    const r = rig(lingering);
    void r.publisher.publish(plain, order("a", 1), { id: "a1" });
    await r.clock.advance(20);
    r.copies[0]!.verdict(nack(1));
    await r.clock.advance(10);
    expect(r.copies).toHaveLength(2);
  });
});

describe("one batch in flight a lane, when it is answered", () => {
  it("takes what those publish again who were answered with it: they would wait for the whole of the next one", async () => {
    const plain = topic<Order>("plain");
    const r = rig({ traits: { inFlightPerLane: 1 } });
    const again = async (n: number): Promise<void> => {
      await r.publisher.publish(plain, order("a", n), { id: `first${n}` });
      // As through two functions of an application.
      await null;
      await null;
      void r.publisher.publish(plain, order("a", n), { id: `second${n}` });
    };
    for (const n of [1, 2]) void again(n);
    await r.clock.advance(0);
    void r.publisher.publish(plain, order("a", 3), { id: "waits" });
    await r.clock.advance(0);
    for (const copy of r.copies.slice(0, 2)) copy.verdict(accepted);
    await r.clock.advance(0);
    expect(r.copies.slice(2).map((c) => c.message.id)).toEqual(["waits", "second1", "second2"]);
  });
});

describe("one batch in flight a lane, when not all goes well", () => {
  const plain = topic<Order>("plain");
  const one = { confirmTimeout: "10s", deadline: "1h", traits: { inFlightPerLane: 1 } } as const;

  it("waits for the last verdict of the batch", async () => {
    const r = rig(one);
    for (const n of [1, 2]) void r.publisher.publish(plain, order("a", n), { id: `p${n}` });
    await r.clock.advance(0);
    void r.publisher.publish(plain, order("a", 3), { id: "p3" });
    r.copies[0]?.verdict(accepted);
    await r.clock.advance(10);
    expect(r.copies).toHaveLength(2);
    r.copies[1]?.verdict(nack(5_000));
    await r.clock.advance(0);
    expect(r.copies.map((c) => c.message.id)).toEqual(["p1", "p2", "p3"]);
  });

  it("does not wait on a successor for what is out on the retired session", async () => {
    const r = rig(one);
    for (const n of [1, 2]) void r.publisher.publish(plain, order("a", n), { id: `p${n}` });
    await r.clock.advance(0);
    r.copies[0]?.verdict(accepted);
    await r.clock.runUntil(() => r.copies.length === 3, 11_000);
    expect(r.copies[2]).toMatchObject({ session: 2, message: { id: "p2" } });
    // The old copy's end frees no place on the new session.
    void r.publisher.publish(plain, order("a", 3), { id: "p3" });
    r.copies[1]?.verdict(no("doubt"));
    await r.clock.advance(0);
    expect(r.copies).toHaveLength(3);
  });

  it("does not wait on a successor for another lane's batch on the retired session either", async () => {
    const keyed = topic<Order>("keyed", { key: (o) => o.customer });
    const r = rig({ ...one, lane: (m) => (m.key === "a" ? 0 : 1) });
    void r.publisher.publish(keyed, order("a", 1), { id: "a1" });
    await r.clock.advance(5_000);
    void r.publisher.publish(keyed, order("b", 1), { id: "b1" });
    await r.clock.runUntil(() => r.sessions.length === 2, 6_000);
    void r.publisher.publish(keyed, order("b", 2), { id: "b2" });
    await r.clock.advance(0);
    expect(r.sessions[1]?.open.map((c) => c.message.id).toSorted()).toEqual(["a1", "b2"]);
  });

  it("does not wait for ever for a copy whose message an older one has brought home", async () => {
    for (const [blockedFor, opens] of [
      [0, 3],
      [20_000, 3],
    ] as const) {
      const r = rig(one);
      const p1 = watch(r.publisher.publish(plain, order("a", 1), { id: "p1" }));
      await r.clock.runUntil(() => r.copies.length === 2, 11_000);
      void r.publisher.publish(plain, order("a", 2), { id: "p2" });
      r.copies[0]?.verdict(accepted);
      await r.clock.advance(0);
      expect(p1.state).toBe("resolved");
      expect(r.copies).toHaveLength(2);
      if (blockedFor > 0) r.sessions[1]?.events.blocked("alarm");
      await r.clock.advance(blockedFor);
      expect(r.sessions).toHaveLength(2);
      r.sessions[1]?.events.unblocked();
      await r.clock.runUntil(() => r.copies.length === 3, 11_000);
      expect(r.copies[2]).toMatchObject({ session: opens, message: { id: "p2" } });
    }
  });

  it("does not wait for itself where copies can be told apart", async () => {
    const r = rig({ ...one, traits: { inFlightPerLane: 1, resendsInSession: true } });
    void r.publisher.publish(plain, order("a", 1), { id: "p1" });
    await r.clock.runUntil(() => r.copies.length === 2, 11_000);
    r.copies[1]?.verdict(accepted);
    void r.publisher.publish(plain, order("a", 2), { id: "p2" });
    await r.clock.advance(0);
    expect(r.copies.map((c) => [c.session, c.message.id])).toEqual([
      [1, "p1"],
      [1, "p1"],
      [1, "p2"],
    ]);
  });
});

describe("a lost session", () => {
  it("leaves nothing suspect: its successor gets all that waited", async () => {
    const plain = topic<Order>("plain");
    const r = rig({ confirmTimeout: "10s", deadline: "1h" });
    for (const n of [1, 2, 3]) void r.publisher.publish(plain, order("a", n), { id: `p${n}` });
    await r.clock.runUntil(() => r.sessions.length === 2, 11_000);
    await r.clock.advance(20);
    expect(r.sessions[1]?.open).toHaveLength(1);
    r.sessions[1]?.lose();
    await r.clock.runUntil(() => r.sessions.length === 3, 5_000);
    await r.clock.advance(0);
    expect(r.sessions[2]?.open.map((c) => c.message.id).toSorted()).toEqual(["p1", "p2", "p3"]);
  });
});

describe("a lane", () => {
  it("sends again what was sent before, then what is new", async () => {
    const plain = topic<Order>("plain");
    const r = rig();
    void r.publisher.publish(plain, order("a", 1), { id: "p1" });
    await r.clock.advance(0);
    r.sessions[0]?.events.blocked("alarm");
    void r.publisher.publish(plain, order("a", 2), { id: "p2" });
    await r.clock.advance(0);
    r.copies[0]?.verdict(no("doubt"));
    r.sessions[0]?.events.unblocked();
    await r.clock.advance(0);
    expect(r.copies.map((c) => c.message.id)).toEqual(["p1", "p1", "p2"]);
  });

  it("gets what one tick publishes as one batch, also when a tick's verdicts let many callers go on", async () => {
    const plain = topic<Order>("plain");
    const r = rig();
    const loop = async (n: number): Promise<void> => {
      for (let i = 0; i < 3; i++) await r.publisher.publish(plain, order("a", i), { id: `${n}.${i}` });
    };
    for (let n = 0; n < 50; n++) void loop(n);
    for (let i = 1; i <= 3; i++) {
      await r.clock.advance(0);
      expect([r.copies.length, new Set(r.copies.map((c) => c.batch)).size]).toEqual([50 * i, i]);
      for (const copy of r.sessions[0]?.open ?? []) copy.verdict(accepted);
    }
  });
});

describe("topology", () => {
  it("a topic that contradicts what exists rejects its own messages and holds up no other", async () => {
    const r = rig();
    r.refuseTopic.set("orders", new TallyError("topology", "orders is a classic queue"));
    const plain = topic<Order>("plain");
    const bad = watch(r.publisher.publish(orders, order("a", 1), { id: "a1" }));
    const good = watch(r.publisher.publish(plain, order("a", 1), { id: "p1" }));
    await r.clock.advance(0);
    expect(bad).toMatchObject({ state: "rejected", error: { code: "topology", mayArrive: false, id: "a1" } });
    r.copies[0]?.verdict(accepted);
    await r.clock.advance(0);
    expect(good.state).toBe("resolved");
    // Mended meanwhile: the next message finds it.
    r.refuseTopic.clear();
    void r.publisher.publish(orders, order("a", 2), { id: "a2" });
    await r.clock.advance(0);
    expect(r.copies.at(-1)?.message.id).toBe("a2");
  });

  it("is declared again on each new session, before anything is sent there", async () => {
    const r = rig({ topics: [orders] });
    await r.clock.advance(0);
    expect(r.declared).toEqual(["orders"]);
    r.sessions[0]?.lose();
    await r.clock.runUntil(() => r.sessions.length === 2, 5_000);
    expect(r.declared).toEqual(["orders", "orders"]);
  });

  it("is asked again while the broker cannot answer", async () => {
    const r = rig();
    await r.clock.advance(0);
    r.refuseTopic.set("orders", new TallyError("unreachable", "timed out", { retryable: true }));
    void r.publisher.publish(orders, order("a", 1), { id: "a1" });
    await r.clock.advance(500);
    expect(r.copies).toHaveLength(0);
    r.refuseTopic.clear();
    await r.clock.runUntil(() => r.copies.length === 1, 2_000);
  });
});
