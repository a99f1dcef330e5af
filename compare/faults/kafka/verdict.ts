import type { Counts } from "../count.ts";
import type { Effects } from "../verdict.ts";

/** What one client did in one scenario. */
export interface ScenarioRow extends Counts {
  readonly scenario: string;
  readonly client: string;
  /** Of the idempotent consumer on the client's topic; null for clients that have none. */
  readonly effects: Effects | null;
  /** From the first call to the last answer. */
  readonly seconds: number;
  /** Why its process ended, where it should not have. */
  readonly ended: string | null;
  /** It was publishing when the fault began. */
  readonly met: boolean;
}

/** What must hold of the client that promises it. What others do is theirs; duplicates are printed. */
export function problemsOf(rows: readonly ScenarioRow[], messages: number, promised: string): readonly string[] {
  return rows
    .filter(({ client }) => client === promised)
    .flatMap((row) => {
      const wrong: string[] = [];
      const must = (holds: boolean, text: string): void => {
        if (!holds) wrong.push(`${row.scenario}, ${promised}: ${text}`);
      };
      must(row.met, "had nothing left to publish when the fault began");
      must(row.ended === null, row.ended ?? "");
      must(row.resolved === messages, `${row.resolved} of ${messages} resolved`);
      must(row.lost === 0, `${row.lost} lost`);
      must(row.rejected === 0, `${row.rejected} rejected`);
      must(row.effects !== null && row.effects.doubled === 0, `${row.effects?.doubled} effects doubled`);
      must(row.effects !== null && row.effects.missing === 0, `${row.effects?.missing} effects missing`);
      return wrong;
    });
}
