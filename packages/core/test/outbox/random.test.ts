import { memoryOutbox, seededRandom, virtualClock } from "@tallymq/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { TallyError } from "../../src/error.ts";
import type { OutboxStore, Verdict } from "../../src/spi.ts";
import { topic } from "../../src/topic.ts";
import { accepted, type Copy, nack, rig, watch } from "../support/scripted-transport.ts";

interface Item {
  readonly key: string;
  readonly n: number;
}
const ordered = topic<Item>("ordered", { key: (i) => i.key, ordered: true });
const always = topic<Item>("always", { key: (i) => i.key, ordered: true, outbox: "always" });
const plain = topic<Item>("plain");
const away = new TallyError("unreachable", "away", { retryable: true });

const step = fc.oneof(
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("publish" as const),
      to: fc.constantFrom(ordered, ordered, always, plain),
      key: fc.constantFrom("a", "b", "c"),
      deadline: fc.constantFrom(2_000, 600_000),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("verdict" as const),
      which: fc.nat(9),
      v: fc.constantFrom<Verdict["kind"]>("accepted", "accepted", "accepted", "later"),
    }),
  },
  { weight: 2, arbitrary: fc.record({ do: fc.constant("outage" as const), on: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("block" as const), on: fc.boolean() }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("steal" as const) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("break" as const), on: fc.boolean() }) },
  // Rows are stored, and whoever put them is told of an error.
  { weight: 1, arbitrary: fc.record({ do: fc.constant("answers-lost" as const), on: fc.boolean() }) },
  {
    weight: 4,
    arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.constantFrom(5, 400, 1_100, 6_000, 16_000) }),
  },
);

describe("whatever broker and store do", () => {
  it("what was confirmed or stored reaches the broker, what was rejected for good does not, and a key keeps its order", async () => {
    let stored = 0;
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 50 }), fc.nat(1_000), async (steps, seed) => {
        const outbox = memoryOutbox();
        const opened = await outbox.openOutbox({ clock: virtualClock(), random: seededRandom(1), surfaced: () => {} });
        let answersLost = false;
        const store: OutboxStore = {
          ...opened,
          async put(rows) {
            const results = await opened.put(rows);
            if (answersLost) throw new TallyError("store", "nobody knows", { mayArrive: true });
            return results;
          },
        };
        const r = rig({
          seed,
          window: 20,
          confirmTimeout: "15s",
          spill: { store, policy: { after: 1_000, relayWindow: 8 } },
        });
        const settle = async (): Promise<void> => {
          for (let i = 0; i < 6; i++) await r.clock.advance(0);
        };
        const calls: { readonly id: string; readonly lane: string | null; readonly seen: ReturnType<typeof watch> }[] =
          [];
        /** As the broker has them: ids in the order of their first copy. */
        const queue: string[] = [];
        const judge = (copy: Copy, v: Verdict): void => {
          if (v.kind === "accepted" && !queue.includes(copy.message.id)) queue.push(copy.message.id);
          copy.verdict(v);
        };
        // A copy that is lost may be in the queue all the same: the worst case for order and duplicates is that it is.
        const lose = (): void => {
          const session = r.sessions.findLast((s) => !s.disposed);
          for (const copy of session?.open ?? [])
            if (!queue.includes(copy.message.id) && copy.message.seq % 2 === 0) queue.push(copy.message.id);
          session?.lose();
        };
        for (const s of steps) {
          if (s.do === "publish") {
            const id = `m${calls.length}`;
            const lane = s.to === plain ? null : `${s.to.name}/${s.key}`;
            calls.push({
              id,
              lane,
              seen: watch(r.publisher.publish(s.to, { key: s.key, n: calls.length }, { id, deadline: s.deadline })),
            });
          } else if (s.do === "verdict") {
            const open = r.sessions.flatMap((session) => session.open);
            const copy = open[s.which % Math.max(1, open.length)];
            if (copy !== undefined) judge(copy, s.v === "accepted" ? accepted : nack());
          } else if (s.do === "outage") {
            r.away = s.on ? away : null;
            if (s.on) lose();
          } else if (s.do === "block") r.sessions.at(-1)?.events[s.on ? "blocked" : "unblocked"]("alarm");
          else if (s.do === "steal") outbox.stealLease();
          else if (s.do === "answers-lost") answersLost = s.on;
          else if (s.do === "break")
            outbox.broken = s.on ? new TallyError("store", "no space left", { retryable: true }) : null;
          else await r.clock.advance(s.ms);
          await settle();
        }
        r.away = null;
        outbox.broken = null;
        answersLost = false;
        for (let i = 0; i < 300 && (r.publisher.live > 0 || outbox.rows.length > 0); i++) {
          r.sessions.at(-1)?.events.unblocked();
          for (const copy of r.sessions.flatMap((session) => session.open)) judge(copy, accepted);
          await r.clock.advance(200);
          await settle();
        }
        expect(r.publisher.live, "messages that never came to an end").toBe(0);
        expect(outbox.rows, "rows that were never sent").toEqual([]);

        for (const { id, seen } of calls) {
          expect(seen.state, id).not.toBe("pending");
          if (seen.state === "resolved") {
            expect(queue, `${id} was ${(seen.value as { state: string }).state}`).toContain(id);
            if ((seen.value as { state: string }).state === "stored") stored++;
          } else if (seen.error?.mayArrive === false) expect(queue, `${id} was rejected for good`).not.toContain(id);
        }
        for (const lane of new Set(calls.map((c) => c.lane).filter((l) => l !== null))) {
          const inCallOrder = calls.filter((c) => c.lane === lane).map((c) => c.id);
          const arrived = queue.filter((id) => inCallOrder.includes(id));
          expect(arrived, lane).toEqual(inCallOrder.filter((id) => arrived.includes(id)));
        }
        await r.publisher.close(1_000);
        await settle();
        expect(r.clock.pending()).toBe(0);
      }),
      { numRuns: 320 },
    );
    // A model that never stored anything would have shown nothing.
    expect(stored).toBeGreaterThan(100);
  });
});
