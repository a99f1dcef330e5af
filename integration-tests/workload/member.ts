import type { Incarnation } from "@tallymq/testkit/ledger";

/** What every process of a workload is told when it starts; each kind of run adds its own. */
export interface MemberJob extends Incarnation {
  readonly role: string;
  readonly run: string;
  /** Folder of the ledger. */
  readonly ledger: string;
  /** `point:n`: where it is to kill itself, once. */
  readonly crash: string | null;
}

/**
 * `press`: it keeps something in flight at any moment, whatever its rate, until `ease`. `hold`: it begins nothing new until
 * `release`. `rejoin`: a consumer leaves its group and comes back.
 */
export type ToMember = { readonly type: "go" | "stop" | "press" | "ease" | "hold" | "release" | "rejoin" };

/** What a process has done so far. All of it is for progress and timing; the ledger alone is judged. */
export interface Status {
  readonly invoked: number;
  readonly accepted: number;
  readonly rejected: number;
  readonly resends: number;
  /** Accepted because their rows were stored. */
  readonly spilled: number;
  /** Calls of `publish()` without an answer (publisher); handlers that run (consumer). */
  readonly inFlight: number;
  /** It keeps something in flight now. */
  readonly pressed: boolean;
  /** It holds the lease of the outbox: rows that wait are sent by this process. */
  readonly relays: boolean;
  /** A consumer: times that it has joined its group. */
  readonly joins: number;
  /** It has nothing left to publish. */
  readonly published: boolean;
}

export const NOTHING: Status = {
  invoked: 0,
  accepted: 0,
  rejected: 0,
  resends: 0,
  spilled: 0,
  inFlight: 0,
  pressed: false,
  relays: false,
  joins: 0,
  published: false,
};

export type FromMember =
  | { readonly type: "ready" }
  | { readonly type: "status"; readonly status: Status }
  | { readonly type: "done"; readonly status: Status }
  | { readonly type: "failed"; readonly error: string };
