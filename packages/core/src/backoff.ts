import type { Random } from "./clock.ts";

/** Bounds of a back-off, in milliseconds. */
export interface Backoff {
  /** Upper end of the first wait. */
  readonly min: number;
  /** Upper end of every later wait. */
  readonly max: number;
}

/**
 * The wait before try number `attempt` (1, 2, …): uniform in [0, min(max, min × 2^(attempt − 1))).
 * Full jitter: of the usual variants the one that spreads many clients best after a common outage
 * (M. Brooker, "Exponential Backoff And Jitter", AWS Architecture Blog, 2015).
 */
export function fullJitter(backoff: Backoff, attempt: number, random: Random): number {
  const ceiling = Math.min(backoff.max, backoff.min * 2 ** Math.min(attempt - 1, 40));
  return random.unit() * ceiling;
}
