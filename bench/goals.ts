import type { Measure } from "./cases.ts";
import { median, ratios, type Rounds } from "./rounds.ts";
import { goal } from "./table.ts";

export interface RateGoal<Client extends string> {
  readonly text: string;
  /** Tally's rate in this case … */
  readonly case: string;
  /** … over that of this client, in the same round. */
  readonly to: { readonly case: string; readonly client: Client };
  readonly least: number;
}

/** Each goal of which both sides were measured, met or missed: medians of the rounds' ratios. */
export function ratesOf<Client extends string>(
  goals: readonly RateGoal<Client>[],
  measured: ReadonlyMap<string, Rounds>,
): readonly string[] {
  return goals.flatMap(({ text, case: name, to, least }) => {
    const ours: readonly Measure[] = measured.get(name)?.get("tally") ?? [];
    const theirs: readonly Measure[] = measured.get(to.case)?.get(to.client) ?? [];
    if (ours.length === 0 || theirs.length === 0) return [];
    const ratio = median(ratios(ours, theirs, "rate"));
    return [goal(text, ratio, ratio >= least)];
  });
}
