import { describe, expect, it } from "vitest";
import { bytes } from "../../src/codec.ts";
import { topic } from "../../src/topic.ts";
import { accepted, away, nack, no, rig, watch } from "../support/scripted-transport.ts";

const raw = topic<Uint8Array>("raw", { codec: bytes });
const body = new Uint8Array(1);

describe("a verdict that never comes", () => {
  it("for a message that nobody waits for any more gives its place in the window back", async () => {
    const r = rig({ window: 1, confirmTimeout: "15s" });
    const gone = watch(r.publisher.publish(raw, body, { id: "r1", deadline: "1s" }));
    const next = watch(r.publisher.publish(raw, body, { id: "r2", deadline: "1h" }));
    await r.clock.advance(1_020);
    expect(gone).toMatchObject({ state: "rejected", error: { code: "deadline", mayArrive: true } });
    expect(r.copies).toHaveLength(1);
    // Overdue like any other copy: its session is retired, and ends what it still has open when its own time is up.
    await r.clock.runUntil(() => r.copies.length === 2, 31_000);
    expect(r.copies.map((c) => [c.session, c.message.id])).toEqual([
      [1, "r1"],
      [2, "r2"],
    ]);
    expect([r.count("overdue"), r.count("session-retired")]).toEqual([1, 1]);
    r.copies[1]?.verdict(accepted);
    await r.clock.advance(0);
    expect(next.state).toBe("resolved");
    expect(r.publisher.live).toBe(0);
  });

  it("gives it back also where copies can be told apart and no session is retired", async () => {
    const r = rig({ window: 1, confirmTimeout: "15s", traits: { resendsInSession: true } });
    const gone = watch(r.publisher.publish(raw, body, { id: "r1", deadline: "1s" }));
    void r.publisher.publish(raw, body, { id: "r2", deadline: "1h" });
    await r.clock.runUntil(() => r.copies.length === 2, 16_000);
    expect(gone).toMatchObject({ error: { code: "deadline", mayArrive: true } });
    expect(r.sessions).toHaveLength(1);
    // Late after all: counted, nothing else.
    r.copies[0]?.verdict(accepted);
    r.copies[1]?.verdict(accepted);
    await r.clock.advance(0);
    expect([r.publisher.live, r.count("late-verdict")]).toEqual([0, 1]);
  });

  it("for the older copy of a refused message does not hold its caller for ever either", async () => {
    const r = rig({ confirmTimeout: "15s", deadline: "1h", traits: { resendsInSession: true } });
    const done = watch(r.publisher.publish(raw, body, { id: "r1" }));
    await r.clock.runUntil(() => r.copies.length === 2, 16_000);
    r.copies[1]?.verdict(no("refused"));
    await r.clock.advance(14_000);
    expect(done.state).toBe("pending");
    await r.clock.advance(1_100);
    expect(done).toMatchObject({ state: "rejected", error: { code: "refused", mayArrive: true } });
  });

  it("on a session that is retired already retires no other", async () => {
    const r = rig({ confirmTimeout: "10s", deadline: "1h" });
    watch(r.publisher.publish(raw, body, { id: "r1" }));
    await r.clock.advance(5_000);
    watch(r.publisher.publish(raw, body, { id: "r2" }));
    await r.clock.runUntil(() => r.copies.length === 3, 6_000);
    r.copies[2]?.verdict(accepted);
    await r.clock.runUntil(() => r.count("overdue") === 2, 6_000);
    await r.clock.advance(0);
    expect([r.count("session-retired"), r.sessions.length]).toEqual([1, 2]);
  });

  it("is not waited for by a message whose last copy has been refused, beyond the retired session's time", async () => {
    const r = rig({ confirmTimeout: "10s", deadline: "1h" });
    const done = watch(r.publisher.publish(raw, body, { id: "r1" }));
    await r.clock.runUntil(() => r.copies.length === 2, 11_000);
    r.copies[1]?.verdict(no("refused"));
    await r.clock.advance(10_100);
    expect(done).toMatchObject({ state: "rejected", error: { code: "refused", mayArrive: true } });
    expect([r.count("overdue"), r.count("session-retired")]).toEqual([1, 1]);
  });

  it("for a probe whose message an older copy has ended does not stop the lane: the next one probes", async () => {
    const r = rig({ confirmTimeout: "15s", deadline: "1h" });
    const first = watch(r.publisher.publish(raw, body, { id: "r1" }));
    await r.clock.runUntil(() => r.copies.length === 2, 16_000);
    const second = watch(r.publisher.publish(raw, body, { id: "r2" }));
    await r.clock.advance(0);
    expect(r.copies.map((c) => c.message.id)).toEqual(["r1", "r1"]);
    r.copies[0]?.verdict(accepted);
    await r.clock.advance(0);
    expect(first.state).toBe("resolved");
    expect(r.copies.slice(2).map((c) => [c.session, c.message.id])).toEqual([[2, "r2"]]);
    r.copies[2]?.verdict(accepted);
    await r.clock.advance(0);
    expect(second.state).toBe("resolved");
  });

  it("for a probe that its caller has withdrawn does not stop the lane", async () => {
    const r = rig({ confirmTimeout: "15s", deadline: "1h" });
    const abort = new AbortController();
    watch(r.publisher.publish(raw, body, { id: "r1", signal: abort.signal }));
    await r.clock.runUntil(() => r.copies.length === 2, 16_000);
    const second = watch(r.publisher.publish(raw, body, { id: "r2" }));
    abort.abort();
    await r.clock.runUntil(() => r.copies.length === 3, 16_000);
    expect(r.copies[2]).toMatchObject({ session: 3, message: { id: "r2" } });
    r.copies[2]?.verdict(accepted);
    await r.clock.advance(20_000);
    expect(second.state).toBe("resolved");
    expect(r.publisher.live).toBe(0);
  });

  it.each(["refused", "later", "unsent", "doubt"] as const)(
    "a probe that is %s makes room for the rest",
    async (kind) => {
      const r = rig({ confirmTimeout: "15s", deadline: "1h" });
      for (const id of ["r1", "r2", "r3"]) watch(r.publisher.publish(raw, body, { id }));
      await r.clock.runUntil(() => r.copies.length === 4, 16_000);
      r.copies[3]?.verdict(kind === "later" ? nack() : no(kind));
      await r.clock.advance(0);
      // A no is an answer too, and the lane is open again; the want of one is not, and the next message probes.
      const out = r.sessions[1]?.open.map((c) => c.message.id);
      expect(out).toEqual(kind === "refused" || kind === "later" ? ["r2", "r3"] : ["r2"]);
      for (let i = 0; i < 4; i++) {
        for (const session of r.sessions) for (const copy of session.open) copy.verdict(accepted);
        await r.clock.advance(1_000);
      }
      expect(r.publisher.live).toBe(0);
    },
  );

  it("is timed anew from the moment when the broker reads again", async () => {
    const r = rig({ confirmTimeout: "10s", deadline: "1h" });
    void r.publisher.publish(raw, body, { id: "r1" });
    await r.clock.advance(1_000);
    r.sessions[0]?.events.blocked("memory alarm");
    await r.clock.advance(18_900);
    r.sessions[0]?.events.unblocked();
    await r.clock.advance(9_900);
    expect(r.count("overdue")).toBe(0);
    await r.clock.runUntil(() => r.count("overdue") === 1, 200);
  });

  it("counts on while the broker says again and again that it reads", async () => {
    const r = rig({ confirmTimeout: "10s", deadline: "1h" });
    void r.publisher.publish(raw, body, { id: "r1" });
    for (let i = 0; i < 11; i++) {
      await r.clock.advance(1_000);
      r.sessions[0]?.events.unblocked();
    }
    expect(r.count("overdue")).toBe(1);
  });

  it("is not provoked: a session that is blocked before it is handed out gets nothing until it reads", async () => {
    const r = rig();
    r.opening = (events) => events.blocked("disk alarm");
    void r.publisher.publish(raw, body, { id: "r1" });
    await r.clock.advance(1_000);
    expect(r.copies).toHaveLength(0);
    // What another session says, one that is long gone, says nothing about this one.
    r.opening = (events) => {
      events.blocked("disk alarm");
      r.sessions[0]?.events.unblocked();
    };
    r.sessions[0]?.lose();
    await r.clock.advance(3_000);
    expect([r.sessions.length, r.copies.length]).toEqual([2, 0]);
    r.opening = (events) => {
      events.blocked("disk alarm");
      events.unblocked();
    };
    r.sessions[1]?.lose();
    await r.clock.runUntil(() => r.copies.length === 1, 3_000);
    r.sessions[2]?.events.blocked("disk alarm");
    void r.publisher.publish(raw, body, { id: "r2" });
    await r.clock.advance(1_000);
    expect(r.copies).toHaveLength(1);
    r.sessions[2]?.events.unblocked();
    await r.clock.advance(0);
    expect(r.copies).toHaveLength(2);
  });

  it("one lane's silence leaves the probe of another where it is", async () => {
    const keyed = topic<string>("keyed", { key: (key) => key });
    const r = rig({ confirmTimeout: "10s", deadline: "1h", lane: (m) => (m.key === "a" ? 0 : 1) });
    for (const key of ["a", "b"]) watch(r.publisher.publish(keyed, key, { id: `${key}1` }));
    await r.clock.runUntil(() => r.copies.length === 4, 11_000);
    for (const key of ["a", "b"]) watch(r.publisher.publish(keyed, key, { id: `${key}2` }));
    r.sessions[1]?.open.find((c) => c.message.id === "b1")?.verdict(accepted);
    await r.clock.advance(0);
    expect(r.sessions[1]?.open.map((c) => c.message.id)).toEqual(["a1", "b2"]);
  });
});

describe("an id published again after its caller has gone", () => {
  it("is sent again when its last copy has had its answer, and retires no session for it", async () => {
    const r = rig({ confirmTimeout: "10s", deadline: "1h", resendMin: "5s", resendMax: "5s" });
    const abort = new AbortController();
    watch(r.publisher.publish(raw, body, { id: "r1", signal: abort.signal }));
    await r.clock.runUntil(() => r.copies.length === 2, 11_000);
    r.copies[1]?.verdict(nack());
    abort.abort();
    const again = watch(r.publisher.publish(raw, body, { id: "r1" }));
    await r.clock.advance(0);
    expect(r.copies.map((c) => [c.session, c.message.id])).toEqual([
      [1, "r1"],
      [2, "r1"],
      [2, "r1"],
    ]);
    await r.clock.advance(5_000);
    expect(r.count("session-retired")).toBe(1);
    r.copies[2]?.verdict(accepted);
    await r.clock.advance(0);
    expect(again.state).toBe("resolved");
  });

  it("is the same message in every state: waiting for a session, overdue, backing off", async () => {
    const ordered = topic<string>("ordered", { key: (key) => key, ordered: true });
    for (const state of ["wire", "waiting", "overdue", "back-off"]) {
      const r = rig({ confirmTimeout: "10s", deadline: "1h", resendMin: "5s", resendMax: "5s" });
      const first = watch(r.publisher.publish(ordered, "a", { id: "a1", deadline: "12s" }));
      await r.clock.advance(0);
      if (state === "waiting") {
        r.away = away;
        r.sessions[0]?.lose();
      } else if (state === "overdue") {
        r.away = away;
      } else if (state === "back-off") {
        r.copies[0]?.verdict(no("doubt"));
        await r.clock.advance(0);
        r.copies[1]?.verdict(nack(20_000));
      }
      await r.clock.advance(12_020);
      expect(first, state).toMatchObject({ state: "rejected", error: { mayArrive: true } });
      const again = watch(r.publisher.publish(ordered, "a", { id: "a1" }));
      r.away = null;
      for (let i = 0; i < 30 && again.state === "pending"; i++) {
        await r.clock.advance(1_000);
        for (const copy of r.sessions.at(-1)?.open ?? []) copy.verdict(accepted);
      }
      await r.clock.advance(0);
      expect(again.state, state).toBe("resolved");
      expect(new Set(r.copies.map((c) => c.message.seq)).size, state).toBe(1);
      await r.clock.advance(30_000);
      expect(r.publisher.live, state).toBe(0);
    }
  });
});
