import type { Incarnation } from "@tallymq/testkit/ledger";
import type { ClientName } from "../arguments.ts";
import type { Endpoint } from "../brokers/broker.ts";

/** What a process of the workload is told when it starts. */
export interface Job extends Incarnation {
  readonly role: "publisher" | "consumer";
  readonly run: string;
  /** Folder of the ledger. */
  readonly ledger: string;
  /** File of the effects. */
  readonly effects: string;
  readonly client: ClientName;
  readonly endpoint: Endpoint;
  readonly seed: number;
  readonly share: Share | null;
  readonly bug: Bug | null;
}

/** A publisher's part: the orders `first`, `first + step` … below `end`. */
export interface Share {
  readonly first: number;
  readonly step: number;
  readonly end: number;
  /** Messages a second. */
  readonly rate: number;
  /** Calls of `publish()` without an answer, at most: at the bound the publisher waits, as a server would for its caller. */
  readonly window: number;
}

/**
 * A mistake that a consumer makes on purpose, to see that the checker finds it.
 * - `mark-ignored`: bills although the mark says that it has.
 * - `ack-first`: lets the delivery be acked, and bills a little later.
 */
export type Bug = "mark-ignored" | "ack-first";

/** `press`: a publisher keeps some calls in flight at any moment, whatever its rate, until `ease`. */
export type ToProcess = { readonly type: "go" | "stop" | "press" | "ease" };

/** What a process has done so far. All of it is for progress and timing; the ledger alone is judged. */
export interface Status {
  readonly invoked: number;
  readonly accepted: number;
  readonly rejected: number;
  readonly resends: number;
  /** Calls of `publish()` without an answer (publisher); handlers that run (consumer). */
  readonly inFlight: number;
  /** A publisher that keeps calls in flight now. */
  readonly pressed: boolean;
}

export type FromProcess =
  | { readonly type: "ready" }
  | { readonly type: "status"; readonly status: Status }
  | { readonly type: "done"; readonly status: Status }
  | { readonly type: "failed"; readonly error: string };
