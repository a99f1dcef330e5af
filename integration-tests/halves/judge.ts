import type { Failpoint } from "@tallymq/testkit/crash";
import { type Window, WINDOWS } from "./windows.ts";
import type { Outcome } from "./works.ts";

/** Reached on RocketMQ alone, so that the crash matrix, which asks the same of each broker, has no run for them. */
export const HALF_POINTS: readonly Failpoint[] = ["half.offered", "half.told", "half.asked"];

/** What a run leaves behind, from files that its processes wrote. */
export interface Ledger {
  readonly ids: readonly string[];
  readonly outcomes: ReadonlyMap<string, Outcome>;
  /** Effects by id. */
  readonly effects: ReadonlyMap<string, number>;
  /** By window: ids of transactions that stood in it when their process was killed with -9. */
  readonly killed: Readonly<Record<Window, ReadonlySet<string>>>;
  /** Failpoints at which a process has killed itself. */
  readonly points: ReadonlySet<Failpoint>;
  /** Of those that were committed, so many had been given up by the broker: no producer lived for as long as it asked. */
  readonly dropped: number;
  /** Still without an end: in the outbox, or in the broker's queues. */
  readonly left: number;
}

/** Below these a run proves nothing. */
export interface Demands {
  readonly killed: number;
  readonly dropped: number;
}

export interface Judgement {
  /** `INVALID`: a promise is broken. `UNKNOWN`: nothing is, but it was not tried hard enough. */
  readonly verdict: "VALID" | "INVALID" | "UNKNOWN";
  readonly reasons: readonly string[];
  readonly committed: number;
  readonly rolledBack: number;
}

export function judge(ledger: Ledger, demands: Demands): Judgement {
  const wrong: string[] = [];
  const doubts: string[] = [];
  let [committed, rolledBack] = [0, 0];
  for (const id of ledger.ids) {
    const outcome = ledger.outcomes.get(id);
    const effects = ledger.effects.get(id) ?? 0;
    if (outcome === undefined) doubts.push(`${id} was never worked on`);
    else if (outcome === "commit") {
      committed++;
      if (effects === 0) wrong.push(`LOST ${id}: committed, and without effect`);
      if (effects > 1) wrong.push(`DOUBLED ${id}: ${effects} effects`);
    } else {
      rolledBack++;
      if (effects > 0) wrong.push(`UNDEAD ${id}: rolled back, and ${effects} effects`);
    }
  }
  const known = new Set(ledger.ids);
  for (const id of ledger.effects.keys()) if (!known.has(id)) wrong.push(`STRANGE ${id}: an effect of nobody`);
  if (ledger.left > 0) doubts.push(`${ledger.left} are still on their way`);
  for (const window of WINDOWS) {
    const { size } = ledger.killed[window];
    if (size < demands.killed) doubts.push(`window ${window}: ${size} were killed in it, ${demands.killed} have to be`);
  }
  for (const point of HALF_POINTS) if (!ledger.points.has(point)) doubts.push(`nobody died at ${point}`);
  if (ledger.dropped < demands.dropped)
    doubts.push(`the broker gave up ${ledger.dropped} that were committed, ${demands.dropped} have to be`);
  const verdict = wrong.length > 0 ? "INVALID" : doubts.length > 0 ? "UNKNOWN" : "VALID";
  return { verdict, reasons: [...wrong, ...doubts], committed, rolledBack };
}
