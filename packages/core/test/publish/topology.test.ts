import { describe, expect, it } from "vitest";
import { TallyError } from "../../src/error.ts";
import { topic } from "../../src/topic.ts";
import { accepted, away, rig, watch } from "../support/scripted-transport.ts";

const orders = topic<string>("orders", { key: (key) => key, ordered: true });
const plain = topic<string>("plain");

describe("topics are declared", () => {
  it("on a successor too: the broker may have come back without them while the session was retired", async () => {
    const r = rig({ confirmTimeout: "10s", deadline: "1h" });
    void r.publisher.publish(plain, "a", { id: "p1" });
    await r.clock.runUntil(() => r.sessions.length === 2, 11_000);
    expect(r.declared).toEqual(["plain", "plain"]);
  });

  it("and on a successor where they may not be, nothing is sent to them", async () => {
    const r = rig({ confirmTimeout: "10s", deadline: "1h" });
    const p1 = watch(r.publisher.publish(plain, "a", { id: "p1" }));
    await r.clock.advance(0);
    r.refuseTopic.set("plain", new TallyError("topology", "another kind of queue"));
    await r.clock.runUntil(() => r.sessions.length === 2, 11_000);
    await r.clock.advance(15_000);
    expect(r.copies).toHaveLength(1);
    expect(p1).toMatchObject({ state: "rejected", error: { code: "topology", mayArrive: true } });
  });

  it("before what was published while there was no session is sent", async () => {
    const r = rig({ topics: [plain], deadline: "1h" });
    await r.clock.advance(0);
    r.sessions[0]?.lose();
    void r.publisher.publish(plain, "a", { id: "p1" });
    await r.clock.runUntil(() => r.copies.length === 1, 3_000);
    expect(r.declared).toEqual(["plain", "plain"]);
  });

  it("again in each try to open a session", async () => {
    const r = rig({ topics: [plain] });
    r.away = away;
    await r.clock.advance(500);
    const before = r.declared.length;
    expect(before).toBeGreaterThan(1);
    r.away = null;
    await r.clock.runUntil(() => r.sessions.length === 1, 5_000);
    expect(r.declared.length).toBe(before + 1);
  });

  it("and credentials that have run out are the session's trouble, not theirs: what waits for it waits on", async () => {
    const r = rig({ topics: [plain], deadline: "1h" });
    await r.clock.advance(0);
    const expired = new TallyError("unauthorized", "the certificate has expired");
    r.away = expired;
    r.refuseTopic.set("plain", expired);
    r.sessions[0]?.lose();
    const p1 = watch(r.publisher.publish(plain, "a", { id: "p1" }));
    const p2 = watch(r.publisher.publish(topic<string>("another"), "b", { id: "p2" }));
    await r.clock.advance(60_000);
    expect([p1.state, p2.state]).toEqual(["pending", "pending"]);
    r.away = null;
    // The session opens, and the topic is still refused: now that is its own trouble.
    await r.clock.runUntil(() => r.sessions.length === 2, 10_000);
    await r.clock.advance(0);
    expect(p1).toMatchObject({ state: "rejected", error: { code: "unauthorized", mayArrive: false } });
    expect(r.copies.map((c) => c.message.id)).toEqual(["p2"]);
  });

  it("nor is a no to credentials that are renewed before the session opens: the topic is asked once more", async () => {
    const r = rig({ topics: [plain], deadline: "1h" });
    await r.clock.advance(0);
    r.refuseTopic.set("plain", new TallyError("unauthorized", "the token has run out"));
    r.refuseTopic.get = function once(name) {
      const error = Map.prototype.get.call(this, name) as TallyError | undefined;
      this.delete(name);
      return error;
    };
    r.sessions[0]?.lose();
    const p1 = watch(r.publisher.publish(plain, "a", { id: "p1" }));
    await r.clock.runUntil(() => r.sessions.length === 2, 10_000);
    await r.clock.advance(0);
    expect(p1.state).toBe("pending");
    expect(r.copies.map((c) => c.message.id)).toEqual(["p1"]);
  });

  it("also while publishing closes: what was taken before is still sent", async () => {
    const r = rig();
    await r.clock.advance(0);
    const gate = Promise.withResolvers<void>();
    r.declaring = gate.promise;
    const done = watch(r.publisher.publish(plain, "a", { id: "p1" }));
    const closed = watch(r.publisher.close(5_000));
    await r.clock.advance(10);
    gate.resolve();
    await r.clock.advance(10);
    r.copies[0]?.verdict(accepted);
    await r.clock.advance(0);
    expect([done.state, closed.state]).toEqual(["resolved", "resolved"]);
  });

  it("and tried again while publishing closes, but not after its limit", async () => {
    for (const mended of [true, false]) {
      const r = rig();
      await r.clock.advance(0);
      r.refuseTopic.set("plain", away);
      const done = watch(r.publisher.publish(plain, "a", { id: "p1" }));
      const closed = watch(r.publisher.close(5_000));
      await r.clock.advance(2_000);
      expect(done.state).toBe("pending");
      if (mended) {
        r.refuseTopic.clear();
        await r.clock.runUntil(() => r.copies.length === 1, 2_000);
        r.copies[0]?.verdict(accepted);
      }
      await r.clock.advance(3_010);
      if (mended) expect(done.state).toBe("resolved");
      else expect(done).toMatchObject({ error: { code: "closed", mayArrive: false } });
      expect(closed.state).toBe("resolved");
      expect(r.clock.pending()).toBe(0);
    }
  });

  it("with the groups of everyone who makes the topic, before anything more is sent", async () => {
    const r = rig({ topics: [topic("shared", { groups: ["a"] })] });
    await r.clock.advance(0);
    void r.publisher.publish(topic<string>("shared", { groups: ["b"] }), "x", { id: "s1" });
    void r.publisher.publish(topic<string>("shared", { groups: ["a"] }), "x", { id: "s2" });
    await r.clock.advance(0);
    expect(r.plans.map((plan) => plan.groups)).toEqual([["a"], ["a", "b"]]);
    expect(r.copies.map((c) => c.message.id)).toEqual(["s1", "s2"]);
    r.sessions[0]?.lose();
    await r.clock.runUntil(() => r.sessions.length === 2, 5_000);
    expect(r.plans.at(-1)?.groups).toEqual(["a", "b"]);
  });

  it("with groups that came while the declaration was under way", async () => {
    const r = rig();
    await r.clock.advance(0);
    const gate = Promise.withResolvers<void>();
    r.declaring = gate.promise;
    void r.publisher.publish(topic<string>("shared", { groups: ["a"] }), "x", { id: "s1" });
    await r.clock.advance(0);
    void r.publisher.publish(topic<string>("shared", { groups: ["b"] }), "x", { id: "s2" });
    gate.resolve();
    await r.clock.advance(0);
    expect(r.plans.map((plan) => plan.groups)).toEqual([["a"], ["a", "b"]]);
    expect(r.copies.map((c) => c.message.id)).toEqual(["s1", "s2"]);
  });

  it("as ordered or as unordered, never as both", async () => {
    const r = rig();
    void r.publisher.publish(orders, "a", { id: "o1" });
    const other = watch(r.publisher.publish(topic<string>("orders"), "a", { id: "o2" }));
    await r.clock.advance(0);
    expect(other).toMatchObject({ state: "rejected", error: { code: "bad-config", mayArrive: false } });
    expect(r.publisher.live).toBe(1);
  });

  it("each by itself: one that we may not touch holds up no other", async () => {
    const r = rig({ topics: [orders, plain] });
    await r.clock.advance(0);
    r.refuseTopic.set("orders", new TallyError("unauthorized", "no permission to configure orders"));
    r.sessions[0]?.lose();
    await r.clock.runUntil(() => r.sessions.length === 2, 5_000);
    const bad = watch(r.publisher.publish(orders, "a", { id: "o1" }));
    const good = watch(r.publisher.publish(plain, "a", { id: "p1" }));
    await r.clock.advance(0);
    expect(bad).toMatchObject({ state: "rejected", error: { code: "unauthorized", mayArrive: false } });
    r.copies[0]?.verdict(accepted);
    await r.clock.advance(0);
    expect(good.state).toBe("resolved");
  });

  it("or their messages end, and an ordered key with one in doubt too", async () => {
    const r = rig();
    const o1 = watch(r.publisher.publish(orders, "a", { id: "o1" }));
    await r.clock.advance(0);
    r.refuseTopic.set("orders", new TallyError("topology", "another kind of queue"));
    r.sessions[0]?.lose();
    await r.clock.runUntil(() => r.sessions.length === 2, 5_000);
    await r.clock.advance(0);
    expect(o1).toMatchObject({ state: "rejected", error: { code: "topology", mayArrive: true } });
    expect(r.publisher.live).toBe(0);
    r.refuseTopic.clear();
    void r.publisher.publish(orders, "a", { id: "o2" });
    await r.clock.advance(0);
    expect(r.copies.at(-1)?.message.id).toBe("o2");
  });
});
