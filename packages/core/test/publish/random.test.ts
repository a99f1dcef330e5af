import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { topic } from "../../src/topic.ts";
import type { Verdict } from "../../src/spi.ts";
import { accepted, type Copy, nack, no, rig, watch } from "../support/scripted-transport.ts";

interface Item {
  readonly key: string;
  readonly n: number;
}
const ordered = topic<Item>("ordered", { key: (i) => i.key, ordered: true });
const plain = topic<Item>("plain", { key: (i) => i.key });

const step = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      do: fc.constant("publish" as const),
      ordered: fc.boolean(),
      key: fc.constantFrom("a", "b"),
      deadline: fc.constantFrom(1_000, 30_000, 600_000),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      do: fc.constant("verdict" as const),
      which: fc.nat(20),
      v: fc.constantFrom<Verdict["kind"]>("accepted", "accepted", "later", "unroutable", "refused", "unsent"),
    }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("lose" as const) }) },
  { weight: 3, arbitrary: fc.record({ do: fc.constant("pass" as const), ms: fc.constantFrom(5, 200, 3_000, 16_000) }) },
  { weight: 1, arbitrary: fc.record({ do: fc.constant("block" as const), on: fc.boolean() }) },
);

/** What the broker's side knows of one message; the publisher's words are held against it. */
interface Fate {
  sent: number;
  stored: number;
  doubts: number;
}

describe("whatever the broker answers, in whatever order", () => {
  it("each publish ends once and truthfully, a key keeps its order, and nothing is left behind", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60 }), fc.nat(1_000), async (steps, seed) => {
        const r = rig({ seed, window: 6, confirmTimeout: "15s" });
        const calls: {
          readonly id: string;
          readonly key: string;
          readonly ordered: boolean;
          readonly seen: ReturnType<typeof watch>;
        }[] = [];
        const fates = new Map<string, Fate>();
        const judged = new Set<Copy>();
        const firstStored: string[] = [];
        const judge = (copy: Copy, v: Verdict): void => {
          const fate = fates.get(copy.message.id);
          if (fate !== undefined && v.kind === "accepted") {
            if (fate.stored === 0) firstStored.push(copy.message.id);
            fate.stored++;
          }
          judged.add(copy);
          copy.verdict(v);
        };
        const look = (): void => {
          const openIds = r.sessions
            .filter((s) => !s.disposed)
            .map((s) => s.open.map((c) => `${c.message.topic}/${c.message.id}`));
          // Two open copies of one id in one session would make its answers ambiguous.
          for (const ids of openIds) expect(new Set(ids).size).toBe(ids.length);
          expect(r.sessions.filter((s) => !s.disposed).length).toBeLessThanOrEqual(3);
          for (const key of ["a", "b"]) {
            // A copy of a message that is stored already can only become its duplicate: it is not in the way of the next.
            const out = new Set(
              r.sessions
                .flatMap((s) => s.open)
                .filter((c) => c.message.ordered && c.message.key === key && fates.get(c.message.id)?.stored === 0)
                .map((c) => c.message.id),
            );
            expect(out.size, "messages of one ordered key on the wire").toBeLessThanOrEqual(1);
          }
        };
        for (const s of steps) {
          if (s.do === "publish") {
            const id = `m${calls.length}`;
            fates.set(id, { sent: 0, stored: 0, doubts: 0 });
            const into = s.ordered ? ordered : plain;
            calls.push({
              id,
              key: s.key,
              ordered: s.ordered,
              seen: watch(r.publisher.publish(into, { key: s.key, n: calls.length }, { id, deadline: s.deadline })),
            });
          } else if (s.do === "verdict") {
            const open = r.sessions.flatMap((session) => session.open);
            const copy = open[s.which % Math.max(1, open.length)];
            if (copy !== undefined)
              judge(copy, s.v === "accepted" ? accepted : s.v === "later" ? nack() : no(s.v as "refused"));
          } else if (s.do === "lose") r.sessions.findLast((session) => !session.disposed)?.lose();
          else if (s.do === "block") r.sessions.at(-1)?.events[s.on ? "blocked" : "unblocked"]("alarm");
          await r.clock.advance(s.do === "pass" ? s.ms : 0);
          look();
        }
        // Heal: the broker accepts everything from now on.
        for (let i = 0; i < 400 && r.publisher.live > 0; i++) {
          r.sessions.at(-1)?.events.unblocked();
          for (const copy of r.sessions.flatMap((session) => session.open)) judge(copy, accepted);
          await r.clock.advance(500);
          look();
        }
        expect(r.publisher.live).toBe(0);

        for (const { id, seen } of calls) {
          const copies = r.copies.filter((c) => c.message.id === id);
          const stored = fates.get(id)?.stored ?? 0;
          // A copy that the session ended without the script's verdict is one that the broker may hold.
          const doubtful = copies.filter((c) => !judged.has(c)).length;
          expect(seen.state, id).not.toBe("pending");
          if (seen.state === "resolved") expect(stored, `${id} was confirmed`).toBeGreaterThan(0);
          else if (seen.error?.mayArrive === false) {
            expect(stored, `${id} was rejected for good: ${seen.error.message}`).toBe(0);
            expect(doubtful, `${id} was rejected for good with a copy in doubt`).toBe(0);
          }
        }
        for (const key of ["a", "b"]) {
          const inCallOrder = calls.filter((c) => c.ordered && c.key === key).map((c) => c.id);
          const stored = firstStored.filter((id) => inCallOrder.includes(id));
          expect(stored).toEqual(inCallOrder.filter((id) => stored.includes(id)));
        }
        await r.publisher.close(1_000);
        expect(r.clock.pending()).toBe(0);
      }),
      { numRuns: 300 },
    );
  });
});
