import type { NewRow, PutResult } from "../stores.ts";

/** A half message before it is stored: the row that it becomes when its decision is `commit`. */
export interface NewHalf {
  /** Of the declared half: who declares it knows how to check. */
  readonly name: string;
  readonly row: NewRow;
}

/** One as it is stored: undecided, or committed and not yet a row of the outbox. */
export interface StoredHalf extends NewHalf {
  /** Its handle; never used twice. */
  readonly place: number;
  /** Rises with each holder: who has an older one has lost its lease. */
  readonly fence: number;
  readonly state: "undecided" | "committed";
  /** How often it was handed out to be checked. */
  readonly checks: number;
  /** Wall-clock milliseconds. */
  readonly preparedAt: number;
  /** Kept for a person since then, and why; null: not parked. */
  readonly parkedAt: number | null;
  readonly reason: string | null;
}

/**
 * - `prepared`: new, and ours for the lease.
 * - `undecided`: it was there, and nobody is at it: ours for the lease, to be checked; that is counted.
 * - `busy`: somebody is at it for up to `leftMs`.
 * - `committed`, `rolledBack`: decided; kept for as long as the row's `dedupeForMs` says, at least.
 * - `conflict`: the identity (destination, producer, topic, id) with another body, key or name.
 * - `full`: the store's bound.
 */
export type Prepared =
  | { readonly is: "prepared"; readonly place: number; readonly fence: number }
  | { readonly is: "undecided"; readonly half: StoredHalf }
  | { readonly is: "busy"; readonly leftMs: number }
  | { readonly is: "committed" | "rolledBack" | "conflict" | "full" };

/** What is recorded, whoever recorded it first; `released`: its row is in the outbox, or was there. */
export interface Decided {
  readonly decision: "commit" | "rollback";
  readonly released: boolean;
}

export interface HalfStats {
  /** Undecided, parked ones apart. */
  readonly undecided: number;
  readonly parked: number;
  /** Wall-clock milliseconds of the oldest undecided one that is not parked; null when there is none. */
  readonly oldestAt: number | null;
}

/** One by its identity. */
export interface FoundHalf {
  readonly place: number;
  readonly state: "undecided" | "committed" | "released" | "rolledBack";
  /** Nobody is at it. */
  readonly free: boolean;
}

/** Whose: the destination, the service and the declared name. */
export interface HalfOwner {
  readonly destination: string;
  readonly producer: string;
  readonly name: string;
}

/** A store's half messages: kept out of the relay's hands until they are decided. What resolves is fsynced. */
export interface HalfStore {
  prepare(half: NewHalf, leaseMs: number): Promise<Prepared>;
  /** Holds it for another `ms`, or keeps everybody from it for so long; false: another one has it, or it is decided and released. */
  renew(place: number, fence: number, ms: number): Promise<boolean>;
  /**
   * Records the decision if there is none yet: the first one stays, whoever has the lease. Null: no such half message.
   * @param release Makes a committed one a row in the same transaction, if there is room.
   */
  decide(place: number, decision: "commit" | "rollback", release: boolean): Promise<Decided | null>;
  /** A committed one is with the broker's messages: it needs no row. False: it is not committed, or has been released. */
  settle(place: number): Promise<boolean>;
  /** Forgets one whose work has not begun, as if it had never been. False: another one has it, or it is decided. */
  withdraw(place: number, fence: number): Promise<boolean>;
  /** A committed one becomes a row of the outbox, behind all that are there; `same` if it is one, or was, already. */
  release(place: number): Promise<PutResult>;
  /** Those undecided, or committed and not released, that nobody is at: held for the lease. Each check is counted. */
  due(owner: HalfOwner, leaseMs: number, most: number): Promise<readonly StoredHalf[]>;
  /** For a person: `due` does not give it any more; it can still be decided. False: another one has it, or it is decided. */
  park(place: number, fence: number, reason: string): Promise<boolean>;
  /** Those of an owner that are undecided, or committed and not released; the oldest first. */
  list(owner: HalfOwner, most: number): Promise<readonly StoredHalf[]>;
  /** By identity; null: there is none of this owner, or it is long decided. */
  find(owner: HalfOwner, topic: string, id: string): Promise<FoundHalf | null>;
  stats(): Promise<HalfStats>;
}
