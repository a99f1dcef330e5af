import type { MemberJob } from "../../workload/member.ts";
import type { Share } from "../../workload/pace.ts";
import type { Endpoint } from "../../workload/endpoint.ts";
import type { ClientName } from "../arguments.ts";

export const TOPIC = "orders";
export const GROUP = "billing";

/** What a process of the demo is told when it starts. */
export interface Job extends MemberJob {
  readonly role: "publisher" | "consumer";
  readonly endpoint: Endpoint;
  readonly client: ClientName;
  /** File that all publishers share; null for a client without. */
  readonly outbox: string | null;
  /** File of the effects, which is the consumers' inbox as well. */
  readonly effects: string;
  readonly seed: number;
  readonly share: Share | null;
  /** Orders of a customer take effect in their order. */
  readonly ordered: boolean;
  readonly bug: Bug | null;
}

/**
 * A mistake that is made on purpose, to see that the checker finds it.
 * - `no-inbox`: a consumer with `effect: "none"`: nothing remembers what was billed.
 * - `ack-first`: a consumer that lets the delivery be acked, and bills a little later.
 * - `unsettled`: an adapter that leaves one delivery without its ack.
 * - `forgetful`: a publisher that is started again and does not publish again what may not have been accepted.
 */
export type Bug = "no-inbox" | "ack-first" | "unsettled" | "forgetful";
