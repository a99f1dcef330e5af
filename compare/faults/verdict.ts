import { type Counts, extra } from "./count.ts";
import type { Kill } from "./kills.ts";

export interface Row extends Counts {
  readonly client: string;
  /** Of the idempotent consumer on the client's queue; null for clients that have none. */
  readonly effects: Effects | null;
  /** From the first call to the last answer; with an outbox until it is empty as well. */
  readonly seconds: number;
  /** Why its process ended, where it should not have. */
  readonly ended: string | null;
}

export interface Effects {
  /** Made once more than once. */
  readonly doubled: number;
  /** In the queue, and no effect. */
  readonly missing: number;
  /** Deliveries of what had its effect already. */
  readonly recognised: number;
}

export function effectsRow(
  effects: ReadonlyMap<string, number>,
  copies: ReadonlyMap<string, number>,
  recognised: number,
): Effects {
  let missing = 0;
  for (const id of copies.keys()) if (!effects.has(id)) missing++;
  return { doubled: extra(effects.values()), missing, recognised };
}

/** What must hold of the client that promises it, and what makes the run worth anything. What others do is theirs. */
export function problemsOf(
  rows: readonly Row[],
  kills: readonly Kill[],
  plan: { readonly messages: number; readonly kills: number },
  promised: string,
): readonly string[] {
  const row = rows.find(({ client }) => client === promised);
  if (row === undefined) return [];
  const problems: string[] = [];
  const must = (holds: boolean, text: string): void => {
    if (!holds) problems.push(`${promised}: ${text}`);
  };
  must(row.ended === null, row.ended ?? "");
  must(row.resolved === plan.messages, `${row.resolved} of ${plan.messages} resolved`);
  must(row.lost === 0, `${row.lost} lost`);
  must(row.rejected === 0, `${row.rejected} rejected`);
  must(row.effects !== null && row.effects.doubled === 0, `${row.effects?.doubled} effects doubled`);
  must(row.effects !== null && row.effects.missing === 0, `${row.effects?.missing} effects missing`);
  const met = kills.filter(({ inFlight }) => promised in inFlight);
  must(met.length === plan.kills, `${met.length} of ${plan.kills} kills found it publishing`);
  return problems;
}
