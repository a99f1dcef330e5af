import { seededRandom, virtualClock } from "@tallymq/testkit";
import fc from "fast-check";
import { expect, test } from "vitest";
import { createConsumerBuilder } from "../../src/consume/consumer.ts";
import { release, retry } from "../../src/consume/rulings.ts";
import { sleep } from "../../src/clock.ts";
import { createEvents, type EventType } from "../../src/events.ts";
import { MemoryBound } from "../../src/memory.ts";
import { Runners } from "../../src/park/runners.ts";
import { topic } from "../../src/topic.ts";
import { ModelQueue } from "../support/model-queue.ts";

interface Body {
  readonly seq: number;
  readonly tag: number;
  readonly session: number;
}
const run = fc.record({
  /** One key a message; null: none. */
  keys: fc.array(fc.constantFrom("a", "b", "c", null), { minLength: 1, maxLength: 40 }),
  /** How long the n-th run of a handler takes (0: synchronous), and whether it fails then. */
  runs: fc.array(fc.record({ ms: fc.constantFrom(0, 0, 1, 3, 17, 60), fails: fc.boolean() }), {
    minLength: 1,
    maxLength: 40,
  }),
  lanes: fc.integer({ min: 1, max: 5 }),
  spare: fc.integer({ min: 0, max: 20 }),
  latency: fc.constantFrom(0, 1, 9, 40),
  attempts: fc.integer({ min: 1, max: 2 }),
  ordered: fc.boolean(),
  cuts: fc.array(fc.integer({ min: 0, max: 400 }), { maxLength: 2 }),
  seed: fc.integer(),
});
/** What was seen over all runs: a property that never met its case proves nothing. */
const seen = { merged: 0, turnedBack: 0, redelivered: 0, resumed: 0 };

test("rule 15: over random completion orders, failures and cuts: acks cover only what is done, keys keep their order, lanes their bound", async () => {
  await fc.assert(
    fc.asyncProperty(run, async ({ keys, runs, lanes, spare, latency, attempts, ordered, cuts, seed }) => {
      const clock = virtualClock();
      const queue = new ModelQueue(
        clock,
        latency,
        keys.map((key, i) => ({ seq: i + 1, key, deliveries: 0 })),
      );
      const counts: Partial<Record<EventType, number>> = {};
      const events = createEvents(
        () => clock.wall(),
        ({ type }) => void (counts[type] = (counts[type] ?? 0) + 1),
      );
      const runtime = {
        service: "s",
        run: "r",
        clock,
        random: seededRandom(seed),
        events,
        transport: queue,
        reconnect: { min: 1, max: 10 },
        connectWithin: 1_000,
      };

      let running = 0;
      let calls = 0;
      const busy = new Set<string>();
      const done = new Set<string>();
      const effects: number[] = [];
      queue.onAcked = (message, tag, session) => {
        expect(done, `m${message.seq} acked unfinished`).toContain(`${session}/${tag}`);
      };
      const finish = ({ seq, tag, session }: Body, key: string | null, fails: boolean): void => {
        running--;
        if (key !== null) busy.delete(key);
        if (fails) throw new Error("not now");
        done.add(`${session}/${tag}`);
        effects.push(seq);
      };
      const consumer = await createConsumerBuilder(
        runtime,
        {
          inbox: null,
          transacted: null,
          publish: () => Promise.reject(new Error("nothing is published here")),
          members: null,
          audit: () => Promise.resolve(),
          memory: new MemoryBound(runtime.events, null),
          runners: new Runners(),
        },
        "g",
        {
          lanes,
          credit: lanes + spare,
          retryMin: 2,
          retryMax: 20,
          // Also where the default would keep the head of a key in place.
          onError: (_error, { attempt }) => (attempt < attempts ? retry() : release()),
        },
        () => {},
        () => {},
      )
        .on(topic<Body>("orders", { key: () => "", ordered }), (body, { key }) => {
          // A handler fails a hundred times at most, so that each run comes to an end.
          const { ms, fails } = runs[calls++ % runs.length]!;
          expect(++running).toBeLessThanOrEqual(lanes);
          if (key !== null) {
            expect(busy).not.toContain(key);
            busy.add(key);
          }
          if (ms === 0) return finish(body, key, fails && calls < 100);
          return sleep(clock, ms).then(() => finish(body, key, fails && calls < 100));
        })
        .start();
      let toCut = cuts.length;
      for (const at of cuts) {
        clock.after(at, () => {
          toCut--;
          queue.cut();
        });
      }
      await clock.runUntil(() => queue.size === 0 && running === 0 && toCut === 0, 60_000);

      expect(new Set(effects).size).toBe(keys.length);
      if (ordered) {
        const first = [...new Set(effects)];
        for (const key of ["a", "b", "c"]) {
          const ofKey = first.filter((seq) => keys[seq - 1] === key);
          expect(ofKey).toEqual(ofKey.toSorted((x, y) => x - y));
        }
      }
      await consumer.close();
      expect(clock.pending()).toBe(queue.onWire); // no timer of the consumer's is left
      seen.merged += queue.merged;
      seen.redelivered += counts.released ?? 0;
      seen.resumed += queue.sessions - 1;
      if (ordered && latency > 0)
        seen.turnedBack += (counts.released ?? 0) - (counts["attempt-failed"] ?? 0) > 0 ? 1 : 0;
    }),
    { numRuns: 250 },
  );
  expect(seen.merged).toBeGreaterThan(10);
  expect(seen.redelivered).toBeGreaterThan(300);
  expect(seen.resumed).toBeGreaterThan(30);
  expect(seen.turnedBack).toBeGreaterThan(3);
}, 60_000);
