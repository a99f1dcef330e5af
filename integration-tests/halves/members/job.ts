import type { Outcome } from "../works.ts";
import { seeded } from "../../workload/random.ts";
import type { MemberJob } from "../../workload/member.ts";
import type { Window } from "../windows.ts";

export const GROUP = "billing";
export const HALF = "payment";
export const SERVICE = "shop";

/** What a process of the run is told when it starts. */
export interface Job extends MemberJob {
  readonly role: "producer" | "consumer";
  readonly endpoint: string;
  readonly names: string;
  readonly topic: string;
  /** Files: the producers' outbox and what they have done; the consumers' inbox, which holds their effects. */
  readonly outbox: string;
  readonly works: string;
  readonly effects: string;
  /** File with a line for each transaction that is held in `window`. */
  readonly held: string;
  readonly window: Window | null;
  readonly seed: number;
  /** Transactions first, first + 2, … below end. */
  readonly first: number;
  readonly end: number;
  /** So many at the same time. */
  readonly atOnce: number;
}

export const STEP = 2;

/** Nothing but its number and the seed decides what becomes of a transaction: 55 % commit, 25 % rollback, 20 % say nothing. */
export function fateOf(n: number, seed: number): { readonly outcome: Outcome; readonly says: boolean } {
  const at = seeded(Math.imul(n + 1, 0x01000193) ^ seed ^ 0x7a11)();
  if (at < 0.55) return { outcome: "commit", says: true };
  if (at < 0.8) return { outcome: "rollback", says: true };
  return { outcome: at < 0.93 ? "commit" : "rollback", says: false };
}
