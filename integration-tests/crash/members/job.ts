import type { Endpoint } from "../../workload/endpoint.ts";
import type { MemberJob } from "../../workload/member.ts";
import type { Share } from "../../workload/pace.ts";
import type { ScenarioName } from "../scenarios.ts";

export const GROUP = "billing";

/** What a process of the matrix is told when it starts. */
export interface Job extends MemberJob {
  readonly role: "publisher" | "consumer";
  readonly endpoint: Endpoint;
  readonly scenario: ScenarioName;
  /** This run's own. */
  readonly topic: string;
  /** Files that processes share: the publishers' outbox, and the consumers' inbox, which holds their effects. */
  readonly outbox: string;
  readonly effects: string;
  /** A file that is there as soon as what makes handlers fail is repaired. */
  readonly repaired: string;
  readonly seed: number;
  readonly share: Share | null;
  readonly bug: Bug | null;
}

/**
 * A mistake that is made on purpose, to see that the matrix finds it.
 * - `no-inbox`: a consumer with `effect: "none"`: nothing remembers what was billed.
 * - `ack-first`: a consumer that lets the delivery be acked, and bills a little later.
 * - `forgetful`: a publisher that is started again and does not publish again what may not have been accepted.
 */
export type Bug = "no-inbox" | "ack-first" | "forgetful";
