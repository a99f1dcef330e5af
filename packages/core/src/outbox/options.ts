import type { Duration } from "../duration.ts";
import { type Bounds, duration, integer } from "../policy.ts";

/** When messages go to the outbox, by topic. */
export type OutboxMode = "fallback" | "always" | "off";

/** `openTally({ spill })`: how the outbox takes over. */
export interface SpillPolicyOptions {
  /**
   * How long the session may be unusable (down, blocked, a confirm overdue) before what waits is stored, and whatever is
   * published from then on. Shorter than most callers' patience, longer than a reconnect that nobody would notice.
   * @default "1s"
   */
  readonly after?: Duration;
  /** Rows that the relay has on their way at the same time. @default 2000 */
  readonly relayWindow?: number;
}

export interface SpillPolicy {
  readonly after: number;
  readonly relayWindow: number;
}

export const SPILL_BOUNDS: Bounds<SpillPolicy> = {
  after: duration("1s", 1, 600_000),
  relayWindow: integer(2_000, 1, 100_000),
};
