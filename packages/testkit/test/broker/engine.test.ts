import fc from "fast-check";
import { virtualClock } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { type Accepted, Engine } from "../../src/broker/engine.ts";
import type { GroupConsumer, Out } from "../../src/broker/group.ts";
import { Places } from "../../src/broker/places.ts";
import { incoming } from "../../src/memory/traits.ts";
import { message, settled } from "../support/harness.ts";

const PLAN = { name: "orders", ordered: false, groups: ["g"] };

/** A consumer that holds what it gets. */
class Holder {
  readonly out: Out[] = [];
  readonly got: string[];
  readonly joined: GroupConsumer;
  constructor(engine: Engine, credit: number, got: string[]) {
    this.got = got;
    this.joined = engine.subscribe("orders", "g", credit, {
      deliver: (batch) => {
        for (const out of batch) {
          this.out.push(out);
          got.push(out.entry.message.id!);
        }
      },
      removed() {},
    });
  }
}

type Step =
  | { readonly do: "publish" | "join" | "wait"; readonly at: number }
  | { readonly do: "ack" | "release" | "delay" | "close" | "pause" | "resume"; readonly at: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.constant<Step>({ do: "publish", at: 0 }) },
  { weight: 1, arbitrary: fc.constantFrom<Step>({ do: "join", at: 0 }, { do: "wait", at: 0 }) },
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constantFrom("ack", "ack", "release", "delay", "close", "pause", "resume"),
      at: fc.nat(),
    }) as fc.Arbitrary<Step>,
  },
);

describe("a group's queue", () => {
  it("delivers in the order of places whatever comes back, holds every message until it is acked, and ends idle", async () => {
    await fc.assert(
      fc.asyncProperty(fc.boolean(), fc.array(step, { maxLength: 60 }), async (ordered, steps) => {
        const clock = virtualClock();
        const engine = new Engine({ clock: () => clock });
        engine.declare({ ...PLAN, ordered });
        const group = engine.group("orders", "g");
        let consumers: Holder[] = [];
        const got: string[] = [];
        let published = 0;
        const acked = new Set<string>();
        const pick = <T>(from: readonly T[], at: number): T | undefined => from[at % Math.max(1, from.length)];
        for (const s of steps) {
          if (s.do === "publish")
            engine.commit(engine.accept(incoming(message(`m${++published}`, { topic: "orders" }))) as Accepted);
          else if (s.do === "join") consumers.push(new Holder(engine, 1 + (consumers.length % 3), got));
          else if (s.do === "wait") await clock.advance(10);
          else {
            const consumer = pick(consumers, s.at);
            const out = consumer === undefined ? undefined : pick(consumer.out, s.at >> 3);
            if (consumer === undefined) continue;
            if (s.do === "pause") consumer.joined.pause();
            else if (s.do === "resume") consumer.joined.resume();
            else if (s.do === "close") {
              consumer.joined.close();
              consumers = consumers.filter((c) => c !== consumer);
            } else if (out !== undefined) {
              consumer.out.splice(consumer.out.indexOf(out), 1);
              if (s.do === "ack") acked.add(out.entry.message.id!);
              expect(
                s.do === "ack" ? consumer.joined.ack(out) : consumer.joined.release(out, s.do === "delay" ? 5 : 0),
              ).toBe(true);
            }
          }
          await settled();
          // Nobody holds more than its credit; nothing waits behind something that was delivered out of its turn.
          for (const c of consumers) expect(c.joined.out.size).toBeLessThanOrEqual(c.joined.credit);
          const waiting = group
            .entries()
            .filter((e) => e.state === "waiting")
            .map((e) => e.entry);
          const fresh = waiting.filter((e) => e.deliveries === 0);
          const seen = group
            .entries()
            .filter((e) => e.entry.deliveries > 0)
            .map((e) => e.entry.place);
          if (fresh.length > 0 && seen.length > 0)
            expect(Math.max(...seen)).toBeLessThan(Math.min(...fresh.map((e) => e.place)));
          if (ordered) expect(consumers.filter((c) => c.joined.out.size > 0).length).toBeLessThanOrEqual(1);
          expect(group.backlog).toBe(published - acked.size);
          expect(group.entries().length).toBe(group.backlog);
        }
        for (const c of consumers) c.joined.close();
        const last: string[] = [];
        const taker = new Holder(engine, 1_000, last);
        await clock.advance(10);
        await settled();
        expect(last.length).toBe(published - acked.size);
        for (const out of taker.out) taker.joined.ack(out);
        expect(engine.isIdle).toBe(true);
        expect(clock.pending()).toBe(0);
      }),
      { numRuns: 60 },
    );
  });

  it("hands out nothing to a consumer that another one paused or closed in the same turn", async () => {
    const clock = virtualClock();
    const engine = new Engine({ clock: () => clock });
    engine.declare(PLAN);
    const got: string[] = [];
    const others: Holder[] = [];
    engine.subscribe("orders", "g", 1, {
      deliver: () => {
        others[0]!.joined.pause();
        others[1]!.joined.close();
      },
      removed() {},
    });
    others.push(new Holder(engine, 1, got), new Holder(engine, 1, got));
    for (const id of ["a", "b", "c"]) engine.commit(engine.accept(incoming(message(id))) as Accepted);
    await settled();
    expect(got).toEqual([]);
    expect(
      engine
        .group("orders", "g")
        .entries()
        .map((e) => e.state),
    ).toEqual(["unsettled", "waiting", "waiting"]);
    others[0]!.joined.resume();
    await settled();
    expect([got, others[0]!.out[0]!.count]).toEqual([["b"], 1]);
  });

  it("of an ordered topic has one consumer at a time; the next one begins with what was out", async () => {
    const engine = new Engine({ clock: virtualClock });
    engine.declare({ ...PLAN, ordered: true });
    const got: string[] = [];
    const first = new Holder(engine, 2, got);
    const second = new Holder(engine, 2, got);
    for (const id of ["a", "b", "c"]) engine.commit(engine.accept(incoming(message(id))) as Accepted);
    await settled();
    expect([got, second.out]).toEqual([["a", "b"], []]);
    first.joined.pause();
    first.joined.ack(first.out[0]!);
    await settled();
    expect(second.out).toEqual([]);
    first.joined.close();
    await settled();
    expect(second.out.map((o) => `${o.entry.message.id}×${o.count}`)).toEqual(["b×2", "c×1"]);
  });

  it("shows nothing of a message between accept and commit but that its room is taken", async () => {
    const engine = new Engine({ clock: virtualClock, maxBacklog: 1 });
    engine.declare(PLAN);
    const got: string[] = [];
    const holder = new Holder(engine, 5, got);
    const accepted = engine.accept(incoming(message("a"))) as Accepted;
    expect(engine.accept(incoming(message("b")))).toBe("full");
    await settled();
    expect([got, engine.isIdle]).toEqual([[], false]);
    engine.commit(accepted);
    await settled();
    expect(got).toEqual(["a"]);
    holder.joined.ack(holder.out[0]!);
    expect(engine.isIdle).toBe(true);
  });
});

describe("places", () => {
  it("come out lowest first when what comes back is lower than what is fresh", () => {
    fc.assert(
      fc.property(fc.array(fc.nat({ max: 3 }), { maxLength: 4_000 }), (ops) => {
        const places = new Places<{ place: number }>();
        const out: { place: number }[] = [];
        const model: number[] = [];
        let next = 0;
        for (const op of ops) {
          if (op <= 1) {
            places.push({ place: ++next });
            model.push(next);
          } else if (op === 2 || out.length === 0) {
            const taken = places.take();
            expect(taken?.place).toBe(model.length > 0 ? Math.min(...model) : undefined);
            if (taken === undefined) continue;
            model.splice(model.indexOf(taken.place), 1);
            out.push(taken);
          } else {
            const back = out.splice(Math.floor(out.length / 2), 1)[0]!;
            places.putBack(back);
            model.push(back.place);
          }
          expect(places.size).toBe(model.length);
        }
        expect(places.list().map((p) => p.place)).toEqual(model.toSorted((a, b) => a - b));
      }),
      { numRuns: 30 },
    );
  });
});
