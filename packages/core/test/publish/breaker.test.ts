import { seededRandom, virtualClock } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { type BreakerInput, type BreakerState, CLOSED, step } from "../../src/publish/breaker.ts";
import { Breakers } from "../../src/publish/breakers.ts";
import { TopicLine } from "../../src/publish/topic-line.ts";
import type { Runtime } from "../../src/runtime.ts";
import { topic } from "../../src/topic.ts";
import { accepted, away, nack, type Rig, rig, type RigOptions, watch } from "../support/scripted-transport.ts";

const bad = topic<string>("bad", { key: (text) => text.slice(0, 1) });
const badKeys = topic<string>("bad", { key: (text) => text.slice(0, 1), ordered: true });
const good = topic<string>("good");

/** A broker that nacks one topic for as long as it is full, and takes all else at once. */
function half(options: RigOptions = {}): Rig & { full: boolean } {
  const r = Object.assign(rig({ window: 10, deadline: "1h", topics: [good], ...options }), { full: true });
  r.atOnce = ({ message }) => (message.topic === "bad" && r.full ? nack() : accepted);
  return r;
}

describe("a breaker, as a value", () => {
  const policy = { after: 3, wait: { min: 1_000, max: 8_000 } };
  const random = seededRandom(1);
  const at = (now: number, probe = false, weight = 1): BreakerInput => ({ type: "failed", weight, probe, now });
  const play = (state: BreakerState, ...inputs: readonly BreakerInput[]): BreakerState =>
    inputs.reduce((s, input) => step(s, input, policy, random)[0], state);
  const probing = play({ is: "open", tries: 0 }, { type: "due" }, { type: "probe" });

  it("opens after so many failures in a row that last, and any answer in between starts the count anew", () => {
    expect(play(CLOSED, at(5_000), at(9_000))).toEqual({ is: "closed", failures: 2, since: 5_000 });
    expect(play(CLOSED, at(0), at(9_000), { type: "answered" })).toBe(CLOSED);
    expect(play(CLOSED, at(0), at(500), at(1_000))).toEqual({ is: "open", tries: 0 });
    expect(play(CLOSED, at(0), at(1), at(2), at(3), at(999))).toMatchObject({ is: "closed" });
    expect(play(CLOSED, at(0, false, Number.POSITIVE_INFINITY))).toEqual({ is: "open", tries: 0 });
  });

  it("lets one go when its wait is over, whose end decides; what else fails meanwhile does not", () => {
    expect(probing).toEqual({ is: "half-open", tries: 0, probing: true });
    expect(play(probing, at(0))).toBe(probing);
    expect(play(probing, at(0, true))).toEqual({ is: "open", tries: 1 });
    expect(play(probing, { type: "gone" })).toEqual({ is: "half-open", tries: 0, probing: false });
    expect(play(probing, { type: "answered" })).toBe(CLOSED);
    expect(play({ is: "open", tries: 4 }, at(0), { type: "probe" }, { type: "gone" })).toEqual({
      is: "open",
      tries: 4,
    });
  });

  it("waits longer each time, up to its bound", () => {
    const waits = [0, 1, 2, 3, 10].map((tries) => {
      const [, effects] = step({ is: "half-open", tries, probing: true }, at(0, true), policy, {
        unit: () => 1,
        bytes: (n) => new Uint8Array(n),
      });
      return effects.map((effect) => (effect.do === "wait" ? effect.ms : effect.do));
    });
    expect(waits).toEqual([[2_500], [4_500], [8_500], [8_500], [8_500]]);
  });
});

describe("a topic and what of it is delayed, each with a breaker", () => {
  it("have one limit for their rows: the lower one, whichever opened first", async () => {
    const clock = virtualClock();
    const units = [1, 0];
    const random = { unit: () => units.shift() ?? 1, bytes: (n: number) => new Uint8Array(n) };
    const limits: (readonly [string, number][])[] = [];
    const nothing = (): void => {};
    const breakers = new Breakers({
      runtime: { clock, random, events: { emit: nothing } } as unknown as Runtime,
      policy: { after: 3, wait: { min: 1_000, max: 8_000 } },
      ...{ waiting: () => [], spills: () => false, spill: nothing, enter: nothing, left: nothing, withdraw: nothing },
      limited: (topics) => limits.push([...topics]),
    });
    for (const line of [new TopicLine(bad), new TopicLine(bad)]) breakers.undeclared(line, true);
    expect(limits.at(-1)).toEqual([["bad", 0]]);
    await clock.advance(501); // the second one wants a probe by now
    expect([limits.length, limits.at(-1)]).toEqual([3, [["bad", 0]]]);
    await clock.advance(1_000); // and the first one
    expect([limits.length, limits.at(-1)]).toEqual([4, [["bad", 1]]]);
  });
});

describe("one topic that the broker does not take", () => {
  it("does not keep others from being published, and goes on when it is taken again", async () => {
    const r = half();
    const stuck = Array.from({ length: 50 }, (_, n) => watch(r.publisher.publish(bad, `a${n}`)));
    await r.clock.advance(3_000);
    const others = Array.from({ length: 100 }, (_, n) => watch(r.publisher.publish(good, `g${n}`)));
    await r.clock.advance(1_000);
    expect(others.filter((p) => p.state === "resolved")).toHaveLength(100);
    expect(stuck.filter((p) => p.state !== "pending")).toHaveLength(0);
    expect([r.count("breaker-open"), r.publisher.breakers.map((b) => b.topic)]).toEqual([1, ["bad"]]);
    // Later too, and with more of the bad one coming.
    for (let i = 0; i < 20; i++) {
      stuck.push(watch(r.publisher.publish(bad, `b${i}`)));
      const other = watch(r.publisher.publish(good, "g"));
      await r.clock.advance(5_000);
      expect(other.state).toBe("resolved");
    }
    // One probe at a time: no storm against a broker that is full.
    const before = r.copies.length;
    await r.clock.advance(60_000);
    expect(r.copies.length - before).toBeLessThan(20);
    expect(r.copies.length).toBeGreaterThan(before);

    r.full = false;
    await r.clock.advance(31_000);
    expect(stuck.filter((p) => p.state === "resolved")).toHaveLength(70);
    expect([r.count("breaker-open"), r.count("breaker-closed"), r.publisher.breakers]).toEqual([1, 1, []]);
    expect(r.publisher.live).toBe(0);
    await r.publisher.close(1_000);
    expect(r.clock.pending()).toBe(0);
  });

  it("leaves no timer behind when the publisher closes meanwhile", async () => {
    const r = half();
    const stuck = Array.from({ length: 30 }, (_, n) => watch(r.publisher.publish(bad, `a${n}`)));
    await r.clock.runUntil(() => r.publisher.breakers.length === 1, 10_000);
    const closing = r.publisher.close(100);
    await r.clock.advance(100);
    await closing;
    expect(stuck.filter((p) => p.state !== "rejected")).toEqual([]);
    expect(r.clock.pending()).toBe(0);
  });

  it("rejects its own at their deadlines, definite for what never left", async () => {
    const r = half();
    const stuck = Array.from({ length: 30 }, (_, n) => watch(r.publisher.publish(bad, `a${n}`, { deadline: "20s" })));
    await r.clock.advance(20_100);
    expect(stuck.map((p) => p.error?.code)).toEqual(Array.from({ length: 30 }, () => "deadline"));
    expect(stuck.at(-1)?.error?.mayArrive).toBe(false);
    expect(r.publisher.live).toBe(0);
  });

  it("keeps the order of its keys, also when more of one key wait than the window has places", async () => {
    const r = half({ window: 3 });
    const all = Array.from({ length: 60 }, (_, n) => watch(r.publisher.publish(badKeys, `${"abc"[n % 3]}${n}`)));
    await r.clock.advance(90_000);
    expect(r.publisher.breakers).toHaveLength(1);
    r.full = false;
    await r.clock.advance(60_000);
    expect(all.filter((p) => p.state === "resolved")).toHaveLength(60);
    const accepted = new Map(r.copies.map((copy) => [copy.message.seq, copy.message])); // the last copy of each
    for (const key of "abc") {
      const seqs = [...accepted.values()].filter((m) => m.key === key).map((m) => m.seq);
      expect(seqs).toEqual(seqs.toSorted((a, b) => a - b));
    }
  });

  it("is probed by another message when the one that probed gives up", async () => {
    const r = half({ breakerAfter: 1 });
    const first = watch(r.publisher.publish(bad, "a", { deadline: "10s" }));
    const second = watch(r.publisher.publish(bad, "b"));
    await r.clock.runUntil(() => r.publisher.breakers.length === 1, 5_000);
    r.atOnce = () => null;
    const before = r.copies.length;
    await r.clock.runUntil(() => r.copies.length > before, 5_000);
    r.away = away;
    r.sessions[0]?.lose();
    await r.clock.advance(11_000);
    expect([first.state, second.state]).toEqual(["rejected", "pending"]);
    r.away = null;
    r.atOnce = () => accepted;
    await r.clock.advance(5_000);
    expect([second.state, r.publisher.breakers.length, r.publisher.live]).toEqual(["resolved", 0, 0]);
  });

  it("gives its place in the window back with its last verdict, not after its back-off", async () => {
    const r = half({ breakerAfter: 1, breakerMin: 1, windowBytes: 1_024 });
    r.atOnce = null;
    for (const n of [1, 2, 3]) void r.publisher.publish(bad, String(n).repeat(300)).catch(() => {});
    await r.clock.advance(10);
    for (const copy of r.sessions[0]?.open ?? []) copy.verdict(nack());
    await r.clock.runUntil(() => r.copies.length === 6, 200);
    // The second opens it, and the third is on the wire meanwhile.
    for (const copy of r.sessions[0]?.open ?? []) {
      copy.verdict(nack(60_000));
      await r.clock.advance(5);
    }
    expect(r.publisher.breakers).toHaveLength(1);
    r.atOnce = () => accepted;
    const other = watch(r.publisher.publish(good, "g".repeat(800)));
    await r.clock.advance(10);
    expect(other.state).toBe("resolved");
  });
});

describe("one topic whose declaration hangs", () => {
  it("holds up no session's opening and no other topic; it is declared late, and its messages go then", async () => {
    const gate = Promise.withResolvers<void>();
    const r = half({ topics: [bad, good] });
    r.full = false;
    await r.clock.advance(0);
    r.hangingTopic.set("bad", gate.promise);
    r.sessions[0]?.lose();
    const stuck = Array.from({ length: 30 }, (_, n) => watch(r.publisher.publish(bad, `a${n}`)));
    await r.clock.advance(3_000);
    expect(r.sessions).toHaveLength(2);
    await r.clock.advance(3_000);
    const other = watch(r.publisher.publish(good, "g"));
    await r.clock.advance(10);
    expect([other.state, r.count("breaker-open")]).toEqual(["resolved", 1]);
    await r.clock.advance(60_000);
    expect(stuck.filter((p) => p.state !== "pending")).toHaveLength(0);
    r.hangingTopic.clear();
    gate.resolve();
    await r.clock.advance(45_000);
    expect(stuck.filter((p) => p.state === "resolved")).toHaveLength(30);
    expect(r.publisher.breakers).toHaveLength(0);
  });

  it("or fails for now: the same; where all of them fail, it is the session's trouble, and the session is tried again", async () => {
    const r = half({ topics: [bad, good] });
    r.full = false;
    await r.clock.advance(0);
    r.refuseTopic.set("bad", away);
    r.sessions[0]?.lose();
    await r.clock.advance(1_000);
    expect(r.sessions).toHaveLength(2);
    const stuck = Array.from({ length: 30 }, (_, n) => watch(r.publisher.publish(bad, `a${n}`)));
    await r.clock.advance(10_000);
    const other = watch(r.publisher.publish(good, "g"));
    await r.clock.advance(10);
    expect([other.state, r.count("breaker-open")]).toEqual(["resolved", 1]);
    r.refuseTopic.clear();
    await r.clock.advance(45_000);
    expect(stuck.filter((p) => p.state === "resolved")).toHaveLength(30);

    const alone = half({ topics: [bad] });
    alone.refuseTopic.set("bad", away);
    await alone.clock.advance(5_000);
    expect(alone.sessions).toHaveLength(0);
    expect(alone.count("reconnect")).toBeGreaterThan(2);
  });
});
