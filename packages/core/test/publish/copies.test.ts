import { describe, expect, it } from "vitest";
import { TallyError } from "../../src/error.ts";
import { topic } from "../../src/topic.ts";
import { accepted, nack, no, rig, watch } from "../support/scripted-transport.ts";

const orders = topic<{ n: number }>("orders");

describe("verdicts of copies, joined", () => {
  it("resolves with the receipt of the accepted copy", async () => {
    const r = rig();
    const done = r.publisher.publish(orders, { n: 1 }, { id: "o-1" });
    await r.clock.advance(0);
    expect(r.copies).toHaveLength(1);
    expect(r.declared).toEqual(["orders"]);
    r.copies[0]?.verdict(accepted);
    await expect(done).resolves.toEqual({
      id: "o-1",
      state: "confirmed",
      proof: { routed: "yes", persisted: "yes", replicated: "unverified" },
    });
  });

  it("rejects definitely when the only copy is unroutable or refused", async () => {
    for (const kind of ["unroutable", "refused"] as const) {
      const r = rig();
      const done = watch(r.publisher.publish(orders, { n: 1 }, { id: "o-1" }));
      await r.clock.advance(0);
      r.copies[0]?.verdict(no(kind));
      await r.clock.advance(0);
      expect(done).toMatchObject({ state: "rejected", error: { code: kind, mayArrive: false, id: "o-1" } });
      expect(r.count("rejected")).toBe(1);
    }
  });

  it("rule 5: a rejection after a copy in doubt says that the message may arrive (cut, binding dropped, resent, returned)", async () => {
    const r = rig();
    const done = watch(r.publisher.publish(orders, { n: 1 }, { id: "o-1" }));
    await r.clock.advance(0);
    r.sessions[0]?.lose();
    await r.clock.runUntil(() => r.copies.length === 2, 5_000);
    r.copies[1]?.verdict(no("unroutable"));
    await r.clock.advance(0);
    expect(done).toMatchObject({ state: "rejected", error: { code: "unroutable", mayArrive: true, id: "o-1" } });
  });

  it("resends what a lost session left in doubt at once on the next one, in the order of sending, with the same ids", async () => {
    const r = rig();
    const all = [1, 2, 3].map((n) => r.publisher.publish(orders, { n }, { id: `o-${n}` }));
    await r.clock.advance(0);
    r.copies[1]?.verdict(accepted);
    r.sessions[0]?.lose();
    await r.clock.runUntil(() => r.sessions.length === 2, 5_000);
    await r.clock.advance(0);
    expect(r.copies.slice(3).map((c) => [c.session, c.message.id])).toEqual([
      [2, "o-1"],
      [2, "o-3"],
    ]);
    for (const copy of r.copies.slice(3)) copy.verdict(accepted);
    await Promise.all(all);
    expect(r.count("resend")).toBe(2);
    expect(r.count("session-lost")).toBe(1);
  });

  it("a session that says it takes no more has a successor at once; only what it gave as doubt is sent again, the rest ends by itself", async () => {
    const r = rig({ lane: (m) => (m.id === "o-1" ? 0 : 1) });
    const all = [1, 2].map((n) => r.publisher.publish(orders, { n }, { id: `o-${n}` }));
    await r.clock.advance(0);
    r.sessions[0]?.events.retired(new TallyError("in-doubt", "no answer", { mayArrive: true }));
    r.copies[0]?.verdict(no("doubt"));
    await r.clock.runUntil(() => r.copies.length === 3, 5_000);
    expect(r.copies.slice(2).map((c) => [c.session, c.message.id])).toEqual([[2, "o-1"]]);
    expect([r.count("session-retired"), r.count("session-lost"), r.sessions[0]?.disposed]).toEqual([1, 0, false]);
    r.copies[1]?.verdict(accepted);
    r.copies[2]?.verdict(accepted);
    await Promise.all(all);
    expect(r.sessions[0]?.disposed).toBe(true);
    // Said of a session that has been replaced already.
    r.sessions[0]?.events.retired(new TallyError("in-doubt", "again", { mayArrive: true }));
    expect(r.count("session-retired")).toBe(1);
  });

  it("resends a nacked message after a back-off with full jitter that doubles up to its bound", async () => {
    const waits: number[][] = [];
    for (let seed = 1; seed <= 40; seed++) {
      const r = rig({ seed, resendMin: 100, resendMax: 400, confirmTimeout: "20s" });
      void r.publisher.publish(orders, { n: 1 });
      await r.clock.advance(0);
      for (let i = 0; i < 5; i++) {
        const from = r.clock.now();
        r.copies.at(-1)?.verdict(nack());
        await r.clock.runUntil(() => r.copies.length === i + 2, 1_000);
        (waits[i] ??= []).push(r.clock.now() - from);
      }
      expect(new Set(r.copies.map((c) => c.message.id)).size).toBe(1);
    }
    const ceilings = [100, 200, 400, 400, 400];
    for (const [i, seen] of waits.entries()) {
      const ceiling = ceilings[i] ?? 0;
      expect(Math.max(...seen)).toBeLessThanOrEqual(ceiling + 11);
      // Full jitter reaches both ends of its range: with 40 seeds each quarter end is missed once in 100,000 runs.
      expect(Math.max(...seen)).toBeGreaterThan(ceiling * 0.75);
      expect(Math.min(...seen)).toBeLessThan(ceiling * 0.25 + 11);
    }
  });

  it("a nack that leaves a doubt is one: a later definite no says that the message may arrive", async () => {
    const r = rig();
    const done = watch(r.publisher.publish(orders, { n: 1 }, { id: "o-1" }));
    await r.clock.advance(0);
    const error = new TallyError("later", "one of two queues is full", { retryable: true, mayArrive: true });
    r.copies[0]?.verdict({ kind: "later", error, afterMs: 0 });
    await r.clock.runUntil(() => r.copies.length === 2, 1_000);
    r.copies[1]?.verdict(no("unroutable"));
    await r.clock.advance(0);
    expect(done).toMatchObject({ state: "rejected", error: { code: "unroutable", mayArrive: true } });
  });

  it("waits at least as long as the broker asks", async () => {
    const r = rig({ resendMin: 1 });
    void r.publisher.publish(orders, { n: 1 });
    await r.clock.advance(0);
    r.copies[0]?.verdict(nack(2_000));
    await r.clock.advance(1_990);
    expect(r.copies).toHaveLength(1);
    await r.clock.advance(30);
    expect(r.copies).toHaveLength(2);
  });

  it("a copy that never left leaves no doubt", async () => {
    const r = rig();
    const done = watch(r.publisher.publish(orders, { n: 1 }, { id: "o-1" }));
    await r.clock.advance(0);
    r.copies[0]?.verdict(no("unsent"));
    await r.clock.advance(0);
    r.copies[1]?.verdict(no("refused"));
    await r.clock.advance(0);
    expect(done).toMatchObject({ state: "rejected", error: { code: "refused", mayArrive: false } });
  });

  it("backs off from a message that loses session after session, and not its siblings", async () => {
    const r = rig({ resendMin: 1_000, resendMax: 10_000 });
    void r.publisher.publish(orders, { n: 1 }, { id: "poison" });
    await r.clock.advance(0);
    r.sessions[0]?.lose();
    await r.clock.runUntil(() => r.copies.length === 2, 5_000);
    const sibling = watch(r.publisher.publish(orders, { n: 2 }, { id: "sibling" }));
    await r.clock.advance(0);
    r.sessions[1]?.lose();
    await r.clock.runUntil(() => r.sessions.length === 3, 5_000);
    await r.clock.advance(0);
    // Its second failure: it waits. The sibling's first: it goes at once.
    expect(r.sessions[2]?.open.map((c) => c.message.id)).toEqual(["sibling"]);
    r.sessions[2]?.open[0]?.verdict(accepted);
    await r.clock.advance(0);
    expect(sibling.state).toBe("resolved");
    await r.clock.runUntil(() => r.copies.length === 5, 1_100);
  });
});

describe("overdue confirms", () => {
  it("are not that before ten seconds by default: a frozen leader takes up to eight to be replaced", async () => {
    const r = rig();
    void r.publisher.publish(orders, { n: 1 }, { id: "o-1" });
    await r.clock.advance(10_500);
    expect([r.copies.length, r.count("overdue")]).toEqual([1, 0]);
    await r.clock.runUntil(() => r.count("overdue") === 1, 20_000);
  });

  it("rule 6: an overdue message is not resent on the session that may still answer, but through a successor; the old verdict still counts", async () => {
    const r = rig({ confirmTimeout: "15s" });
    const done = watch(r.publisher.publish(orders, { n: 1 }, { id: "o-1" }));
    await r.clock.advance(14_900);
    expect(r.copies).toHaveLength(1);
    await r.clock.runUntil(() => r.copies.length === 2, 200);
    expect(r.copies.map((c) => c.session)).toEqual([1, 2]);
    expect(r.sessions[0]?.disposed).toBe(false);
    expect(r.count("overdue")).toBe(1);
    expect(r.count("session-retired")).toBe(1);
    r.copies[0]?.verdict(accepted);
    await r.clock.advance(0);
    expect(done.state).toBe("resolved");
    // Drained: the retired session goes.
    expect(r.sessions[0]?.disposed).toBe(true);
    // The second copy's end is counted, and changes nothing.
    r.copies[1]?.verdict(no("unroutable"));
    await r.clock.advance(0);
    expect(done.state).toBe("resolved");
    expect(r.count("late-verdict")).toBe(1);
  });

  it("rule 5: a definite no on the successor waits for the copy that is still open", async () => {
    for (const [old, outcome] of [
      [accepted, "resolved"],
      [no("doubt"), true],
      [no("unroutable"), false],
      [nack(), false],
    ] as const) {
      const r = rig();
      const done = watch(r.publisher.publish(orders, { n: 1 }, { id: "o-1" }));
      await r.clock.runUntil(() => r.copies.length === 2, 16_000);
      r.copies[1]?.verdict(no("unroutable"));
      await r.clock.advance(0);
      expect(done.state).toBe("pending");
      r.copies[0]?.verdict(old);
      await r.clock.advance(0);
      if (outcome === "resolved") expect(done.state).toBe("resolved");
      else expect(done).toMatchObject({ state: "rejected", error: { code: "unroutable", mayArrive: outcome } });
    }
  });

  it("rule 6: one message probes a stuck lane and the rest wait, until the broker answers there", async () => {
    const r = rig({ confirmTimeout: "15s", deadline: "1h" });
    const all = [1, 2, 3].map((n) => watch(r.publisher.publish(orders, { n }, { id: `o-${n}` })));
    await r.clock.runUntil(() => r.sessions.length === 2, 16_000);
    await r.clock.advance(100);
    void r.publisher.publish(orders, { n: 4 }, { id: "o-4" });
    await r.clock.advance(1_000);
    expect(r.sessions[1]?.open.map((c) => c.message.id)).toEqual(["o-1"]);
    r.sessions[1]?.open[0]?.verdict(accepted);
    await r.clock.advance(0);
    expect(r.sessions[1]?.open.map((c) => c.message.id)).toEqual(["o-2", "o-3", "o-4"]);
    expect(all.map((p) => p.state)).toEqual(["resolved", "pending", "pending"]);
  });

  it("rule 6: at most two retired sessions are kept, and no promise ends for it", async () => {
    const r = rig({ confirmTimeout: "10s", deadline: "1h" });
    const done = watch(r.publisher.publish(orders, { n: 1 }, { id: "o-1" }));
    void r.publisher.publish(orders, { n: 2 }, { id: "o-2" });
    for (let i = 0; i < 6; i++) await r.clock.advance(10_100);
    const living = r.sessions.filter((s) => !s.disposed);
    expect(r.sessions.length).toBeGreaterThan(3);
    expect(living.length).toBeLessThanOrEqual(3);
    // A stuck queue causes no storm: one copy for each successor.
    expect(r.copies.length).toBeLessThanOrEqual(2 + r.sessions.length - 1);
    expect(done.state).toBe("pending");
  });

  it("does not count silence while the broker has said that it is blocked", async () => {
    const r = rig({ confirmTimeout: "10s", deadline: "1h" });
    void r.publisher.publish(orders, { n: 1 }, { id: "o-1" });
    await r.clock.advance(0);
    r.sessions[0]?.events.blocked("memory alarm");
    const waiting = watch(r.publisher.publish(orders, { n: 2 }, { id: "o-2" }));
    await r.clock.advance(60_000);
    expect(r.copies.map((c) => c.message.id)).toEqual(["o-1"]);
    expect(r.count("overdue")).toBe(0);
    r.sessions[0]?.events.unblocked();
    await r.clock.advance(0);
    expect(r.copies.map((c) => c.message.id)).toEqual(["o-1", "o-2"]);
    r.copies[1]?.verdict(accepted);
    await r.clock.advance(0);
    expect(waiting.state).toBe("resolved");
    expect([r.count("blocked"), r.count("unblocked")]).toEqual([1, 1]);
  });

  it("a transport that can tell copies apart gets the probe in the same session", async () => {
    const r = rig({ confirmTimeout: "10s", traits: { resendsInSession: true } });
    const done = watch(r.publisher.publish(orders, { n: 1 }, { id: "o-1" }));
    await r.clock.runUntil(() => r.copies.length === 2, 11_000);
    expect(r.sessions).toHaveLength(1);
    // The first copy's no is an old one: the second decides.
    r.copies[0]?.verdict(nack());
    r.copies[1]?.verdict(accepted);
    await r.clock.advance(0);
    expect(done.state).toBe("resolved");
  });
});
