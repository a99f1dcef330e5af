import type { Duration } from "../duration.ts";
import { type Bounds, duration, integer } from "../policy.ts";

/** `openTally({ health })`: from when on `tally.health()` says that something is wrong. */
export interface HealthOptions {
  /** A session that has been down, or blocked by the broker, for so long is a finding. @default "10s" */
  readonly unreachableAfter?: Duration;
  /** A message without a verdict, or a row in the outbox, that is older than this is stuck. @default "60s" */
  readonly stuckAfter?: Duration;
  /** An outbox whose rows have only become more for so long, from one call of `health()` to the next, is growing. @default "60s" */
  readonly growingFor?: Duration;
  /** And with no fewer rows than this: below it is everyday traffic. @default 1000 */
  readonly growingRows?: number;
  /** A store that has not answered within so long is a finding; no call of `health()` takes longer. @default "2s" */
  readonly answerWithin?: Duration;
}

/** In milliseconds and rows. */
export interface HealthPolicy {
  readonly unreachableAfter: number;
  readonly stuckAfter: number;
  readonly growingFor: number;
  readonly growingRows: number;
  readonly answerWithin: number;
}

export const HEALTH_BOUNDS: Bounds<HealthPolicy> = {
  unreachableAfter: duration("10s", 1, 86_400_000),
  stuckAfter: duration("60s", 1, 30 * 86_400_000),
  growingFor: duration("60s", 1, 86_400_000),
  growingRows: integer(1_000, 1, 1_000_000_000),
  answerWithin: duration("2s", 1, 60_000),
};
