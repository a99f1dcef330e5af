import { memoryOutbox, seededRandom, virtualClock } from "@tallymq/testkit";
import { expect, it } from "vitest";
import { sleep } from "../../src/clock.ts";
import { Admission } from "../../src/outbox/admission.ts";
import type { OutboxStore } from "../../src/stores.ts";
import { topic } from "../../src/topic.ts";
import { accepted, away, rig } from "../support/scripted-transport.ts";

const ordered = topic<{ readonly key: string }>("ordered", { key: (o) => o.key, ordered: true });
const KEYS = 50;
const STEP_MS = 100;
/** In a step: what is published, three times what the relay gets rid of. */
const DEMAND = 60;
const RELAYED = 20;

it.each([
  ["at once", 0],
  // Then it relays in every other step only.
  ["when the relay has had nothing on its way for a while", 70],
])(
  "after an outage the backlog ends at three times what the relay gets rid of; rows are handed out %s",
  async (_how, takeMs) => {
    const outbox = memoryOutbox();
    const memory = await outbox.openOutbox({ clock: virtualClock(), random: seededRandom(1), surfaced: () => {} });
    const store: OutboxStore = {
      ...memory,
      async lease(...given) {
        const lease = await memory.lease(...given);
        const take = async (most: number) => {
          if (takeMs > 0) await sleep(r.clock, takeMs);
          return await lease.take(most);
        };
        return { ...lease, take };
      },
    };
    const r = rig({ deadline: "1h", spill: { store, policy: { after: 200, relayWindow: RELAYED } } });
    const answers = { stored: 0, confirmed: 0, rejected: 0 };
    let published = 0;
    const settle = async (): Promise<void> => {
      for (let i = 0; i < 4; i++) await r.clock.advance(0);
    };
    /** Direct copies are accepted at once: the broker is healthy. Of the relay's rows so many a step, and no more. */
    const step = async (): Promise<void> => {
      for (let i = 0; i < DEMAND; i++) {
        const n = published++;
        void r.publisher.publish(ordered, { key: `k${n % KEYS}` }, { id: `${n}` }).then(
          ({ state }) => answers[state]++,
          () => answers.rejected++,
        );
      }
      let relayed = 0;
      for (let round = 0; round < 6; round++) {
        await settle();
        const stored = new Set(outbox.rows.map((row) => row.message.id));
        for (const copy of r.sessions.flatMap((session) => session.open)) {
          if (!stored.has(copy.message.id)) copy.verdict(accepted);
          else if (relayed++ < RELAYED) copy.verdict(accepted);
        }
      }
      await r.clock.advance(STEP_MS);
    };

    await settle();
    r.away = away;
    r.sessions[0]?.lose();
    for (let i = 0; i < 10; i++) await step();
    const backlog = outbox.rows.length;
    expect(backlog).toBeGreaterThan(5 * DEMAND);
    r.away = null;
    const heights: number[] = [];
    // The relay alone would need a third of these steps for what lies there.
    const most = ((takeMs === 0 ? 3 : 6) * backlog) / RELAYED;
    while (heights.length < most && (outbox.rows.length > 0 || heights.length < 20)) {
      await step();
      heights.push(outbox.rows.length);
    }
    expect(heights.at(-1)).toBe(0);
    // From the reconnect on it only shrank.
    expect(Math.max(...heights.slice(10))).toBeLessThanOrEqual(heights[10] ?? 0);

    // And sending is direct again.
    const before = { ...answers };
    for (let i = 0; i < 10; i++) await step();
    await settle();
    expect(answers.stored).toBe(before.stored);
    expect(answers.confirmed).toBeGreaterThan(before.confirmed);
    expect(answers.rejected).toBe(0);
  },
);

/** So many that wait, and who has been let in so far. */
function crowd(waiting: number): { readonly admission: Admission<number>; readonly let: number[] } {
  const entered: number[] = [];
  const admission = new Admission<number>((item) => void (admission.takes(item) && entered.push(item)));
  for (let item = 0; item < waiting; item++) admission.wait(item);
  return { admission, let: entered };
}

it("of what leaves four fifths may enter, in their order; a fifth once some were left waiting", () => {
  const c = crowd(100);
  c.admission.left(10);
  expect(c.let).toEqual([0, 1, 2, 3, 4, 5, 6, 7]);
  c.admission.left(10);
  expect(c.let.slice(8)).toEqual([8, 9]);
});

it("a relay that nobody waited for owes no burst", () => {
  const c = crowd(0);
  c.admission.left(10_000);
  const entered = Array.from({ length: 100 }, (_, item) => item).filter((item) => c.admission.takes(item));
  expect(entered).toHaveLength(64);
  c.admission.left(1);
  expect(c.let).toHaveLength(0);
});
