import { describe, expect, it } from "vitest";
import { accepted } from "../support/scripted-transport.ts";
import { heal, open, ordered, outage } from "../support/spilling.ts";

const KEYS = 60;
/** Publishes in 10 ms of virtual time; the relay gets rid of a third of that. */
const DEMAND = 6;
const RELAYED = 2;

describe("after an outage", () => {
  it("rule 9: under an unchanged demand of three times the relay's rate the backlog ends, and sending is direct again", async () => {
    const s = await open({ window: 400, deadline: "1h", confirmTimeout: "1h" });
    await s.settle();
    let published = 0;
    let resolved = 0;
    let stored = 0;
    const demand = (): void => {
      for (let i = 0; i < DEMAND; i++) {
        const n = published++;
        void s.r.publisher.publish(ordered, { key: `k${n % KEYS}`, n }, { id: `m${n}` }).then(({ state }) => {
          resolved++;
          if (state === "stored") stored++;
        });
      }
    };
    const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

    await outage(s);
    for (let ms = 0; ms < 1_000; ms += 10) {
      demand();
      await s.r.clock.advance(10);
      await turn();
    }
    await s.settle();
    const backlog = s.outbox.rows.length;
    expect(backlog).toBeGreaterThan(300);

    await heal(s);
    let ms = 0;
    for (; s.outbox.rows.length > 0 && ms < 120_000; ms += 10) {
      // Callers wait for their turn: nobody publishes without end.
      if (published - resolved < 400) demand();
      const fromRows = new Set(s.outbox.rows.map((row) => row.message.id));
      let relayed = 0;
      for (const copy of s.r.sessions.at(-1)?.open.slice() ?? [])
        if (!fromRows.has(copy.message.id) || relayed++ < RELAYED) copy.verdict(accepted);
      await s.r.clock.advance(10);
      await turn();
      await turn();
    }
    expect(s.outbox.rows).toHaveLength(0);
    // The relay alone would need this long for what lay there: it is let in at less than the relay's rate meanwhile.
    expect(ms).toBeGreaterThan((backlog / RELAYED) * 10 * 0.9);

    const before = stored;
    for (let i = 0; i < 50; i++) {
      demand();
      await s.accept();
    }
    expect(stored - before).toBeLessThanOrEqual(KEYS);
    expect(s.outbox.rows).toHaveLength(0);
    // The order of a key throughout: each first copy behind those of all that were published before it.
    const last = new Map<string, number>();
    const seen = new Set<string>();
    for (const { message } of s.r.copies) {
      if (seen.has(message.id)) continue;
      seen.add(message.id);
      const n = Number(message.id.slice(1));
      expect(n).toBeGreaterThan(last.get(message.key!) ?? -1);
      last.set(message.key!, n);
    }
  });
});
