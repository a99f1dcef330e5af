import type { Clock, Random } from "./clock.ts";
import type { TallyError } from "./error.ts";
import type { HalfStore } from "./half/store.ts";
import type { Outgoing } from "./message.ts";
import type { Proof } from "./port/sending.ts";

/**
 * How far a store reaches: this process, this machine (a file on its disk), or every machine that shares a database. A
 * store states it; an inbox on one machine's disk protects one machine.
 */
export type Scope = "process" | "host" | "shared";

/** What core lends a store. */
export interface StoreHost {
  readonly clock: Clock;
  readonly random: Random;
  /** Something that a person should know, and that no answer says: a damaged store, a record set aside. */
  surfaced(what: string): void;
}

/** What `sqlite(path)` gives for `outbox:`: resolved options, nothing opened yet. */
export interface OutboxSpec {
  /**
   * @throws TallyError `store`: the place is not fit, the store is damaged beyond recovery, newer than this version, or
   * another process has it for itself.
   */
  openOutbox(host: StoreHost): Promise<OutboxStore>;
}

/** What `sqlite(path)` gives for `inbox:`. */
export interface InboxSpec<Tx> {
  /** @throws TallyError `store`, as with {@link OutboxSpec}. */
  openInbox(host: StoreHost): Promise<InboxStore<Tx>>;
}

// ── outbox ────────────────────────────────────────────────────────────────────

/** Slots of the fence: a small table instead of a set of keys. A collision costs a detour, never an order. */
export const FENCE_SLOTS = 65_536;

/** A message as it is stored: self-contained, so that any process that serves its destination can relay it. */
export interface NewRow {
  /** `Transport.name` of the broker that it goes to. */
  readonly destination: string;
  /** Hash of (destination, topic, key) in [0, {@link FENCE_SLOTS}) for an ordered key; null: rows of no order. */
  readonly slot: number | null;
  readonly message: Outgoing;
  /** An earlier copy was sent and got no verdict; `lane` is where it went, as the destination's `Sender.kept` says it. */
  readonly doubtful: boolean;
  readonly lane: number | null;
  /**
   * The topic's `dedupeFor` in milliseconds, kept in whole seconds. It travels in the row: whoever relays it may never have
   * seen the topic. Null: a row of before this was kept; the default counts.
   */
  readonly dedupeForMs: number | null;
}

/** A stored row. `place` rises in the order of commit and is never used twice. */
export interface Row extends NewRow {
  readonly place: number;
  /** Wall-clock milliseconds of the commit; of the replay, if it was parked and a person put it back. */
  readonly storedAt: number;
}

/**
 * - `stored`: fsynced.
 * - `same`: the identity (destination, producer, topic, id) is stored already, with the same body and key.
 * - `conflict`: it is stored with another body or key; nothing was written.
 * - `full`: the store's bound; nothing was written.
 */
export type PutResult = "stored" | "same" | "conflict" | "full";

/** A row that was refused for good, kept for a person. */
export interface ParkedRow {
  readonly row: Row;
  readonly code: string;
  readonly reason: string;
  readonly parkedAt: number;
}

/** What an outbox holds. */
export interface OutboxStats {
  /** Rows that wait for the relay, parked ones apart. */
  readonly rows: number;
  readonly parked: number;
  /** Wall-clock milliseconds of the oldest waiting row; null when there is none. */
  readonly oldestAt: number | null;
}

/** Rows that wait for the broker. Opened by core, implemented by stores. */
export interface OutboxStore extends AsyncDisposable {
  readonly scope: Scope;
  /** Memory that it takes at most beside the rows that it was given and has not answered for, in bytes. */
  readonly bufferBytes: number;
  /**
   * Resolves after the fsync that made the rows durable; each row by itself. Calls of one tick share a commit. An error says
   * `mayArrive` when the rows may be stored all the same.
   */
  put(rows: readonly NewRow[]): Promise<readonly PutResult[]>;
  /** Waiting and parked rows by slot, {@link FENCE_SLOTS} counters: the fence, at open and after another process relayed. */
  busySlots(): Promise<Uint32Array>;
  stats(): Promise<OutboxStats>;
  /**
   * The right to relay the rows of these destinations: one holder among all processes. Resolves when it is ours; rejects
   * when the signal fires. `lost` is called if the store takes it away.
   */
  lease(destinations: readonly string[], lost: (error: TallyError) => void, signal: AbortSignal): Promise<OutboxLease>;
  parked(most: number): Promise<readonly ParkedRow[]>;
  /** Puts a parked row back before all that waits in its slot, as old as this moment; false if it is not parked. */
  replay(place: number): Promise<boolean>;
  /** Deletes a parked row, for a person who knows what that means; false if it is not parked. */
  purge(place: number): Promise<boolean>;
  /** Null: it keeps no half messages. */
  readonly halves: HalfStore | null;
}

/** A row that a lease was given and did not end. */
export interface GivenBack {
  readonly place: number;
  /** A copy was sent and got no verdict: `take` gives it as a doubtful row from now on. */
  readonly doubtful: boolean;
}

/** The right to send an outbox's rows, and what its holder may do. */
export interface OutboxLease extends AsyncDisposable {
  /**
   * The next rows in the order of `place`, at most `most`: none that this lease has been given and not ended, and none
   * behind a parked row of the same slot. A row is `doubtful` too when a lease before this one was given it and neither
   * ended it nor gave it back: whoever had that may have sent it, and been killed.
   */
  take(most: number): Promise<readonly Row[]>;
  /**
   * From now on at most so many rows of each of these topics are given and not ended at a time; the rest is passed over, and
   * given when it may be, in its order. Replaces what was said before.
   */
  limit(topics: ReadonlyMap<string, number>): void;
  /** These are with the broker: deleted, durably enough that a crash costs duplicates only. */
  end(rows: readonly { readonly place: number; readonly proof: Proof }[]): Promise<void>;
  /** `take` gives them again. */
  giveBack(rows: readonly GivenBack[]): Promise<void>;
  park(place: number, error: TallyError): Promise<void>;
}

// ── inbox ─────────────────────────────────────────────────────────────────────

/** Identity of an effect, compared as bytes; `bodyHash` tells a conflict from a duplicate. */
export interface InboxKey {
  readonly group: string;
  readonly topic: string;
  readonly producer: string;
  readonly id: string;
  readonly bodyHash: bigint;
}

/** What a claim asks for. */
export interface ClaimAsk extends InboxKey {
  /** The ordered key of the message: while that is parked, nothing of it is `fresh`. Null: of no order, or run by a replay. */
  readonly behind: string | null;
}

/**
 * - `fresh`: ours to run, until the lease ends; this start is counted.
 * - `busy`: somebody is at it for up to `leftMs`. Never acked: if that one dies, this delivery is the message.
 * - `done`: the effect is there. Ack.
 * - `dead`: given up with `reason`; its dead letter may or may not be out. Publish it again, then ack.
 * - `conflict`: the same identity with another body.
 * - `parked`: its ordered key is parked; seen in the transaction that would else have made the claim. No start is counted.
 */
export type Claim =
  | { readonly state: "fresh"; readonly key: InboxKey; readonly attempt: number; readonly fence: number }
  | { readonly state: "busy"; readonly key: InboxKey; readonly leftMs: number }
  | { readonly state: "done" | "conflict" | "parked"; readonly key: InboxKey }
  | { readonly state: "dead"; readonly key: InboxKey; readonly reason: string };

/** A claim that is ours. */
export type FreshClaim = Extract<Claim, { readonly state: "fresh" }>;

/** A message of a parked key, whole. */
export interface ParkedMessage {
  readonly group: string;
  readonly topic: string;
  readonly key: string;
  readonly message: Outgoing;
  readonly reason: string;
}

/** A parked message as it is stored; `place` rises within a key. */
export interface ParkedPlace extends ParkedMessage {
  readonly place: number;
  readonly parkedAt: number;
}

/** A key that is parked, as a list shows it. */
export interface ParkedKey {
  readonly group: string;
  readonly topic: string;
  readonly key: string;
  readonly messages: number;
  /** Why its head failed. */
  readonly reason: string;
  readonly parkedAt: number;
}

/**
 * - `parked`: stored behind those that are there, or there already with the same identity and body.
 * - `conflict`: the same identity is there with another body; nothing was written.
 * - `full`: the bound is reached; nothing was written.
 * - `free`: it came without a claim, and the key is not parked (any more); nothing was written.
 * - `fenced`: the claim is another one's; nothing was written.
 */
export type ParkResult = "parked" | "conflict" | "full" | "free" | "fenced";

/** What remembers effects: claims, marks, and parked messages. Opened by core, implemented by stores. */
export interface InboxStore<Tx> extends AsyncDisposable {
  /** Shown among the members of a group: different ids in one group are a finding. */
  readonly id: string;
  readonly scope: Scope;
  /** How long a mark is kept at least, in milliseconds. */
  readonly keepsMs: number;
  /** Memory that it takes at most beside what it was given and has not answered for, its `transactions.outbox` included. */
  readonly bufferBytes: number;
  /**
   * One answer a key. Counts a started attempt durably before it answers `fresh`. Calls of one tick share a commit.
   * `done`, `dead` and `conflict` come before `parked`, and that before `busy`.
   */
  claim(asks: readonly ClaimAsk[], leaseMs: number): Promise<readonly Claim[]>;
  /** Holds the claim for another `leaseMs`; false: fenced, another one is at it. */
  renew(claim: FreshClaim, leaseMs: number): Promise<boolean>;
  /** Null where effects cannot share the store's transactions. */
  readonly transactions: InboxTransactions<Tx> | null;
  /** Durable when it resolves; false: fenced, and nothing was written. */
  end(claim: FreshClaim, outcome: InboxOutcome): Promise<boolean>;
  /**
   * Lifts `dead`, for a replay: the identity may be claimed again, and its starts are counted anew. Durable when it
   * resolves. False: it is not dead, or has another body; nothing was written.
   */
  revive(key: InboxKey): Promise<boolean>;
  /** What of these keys is parked. */
  parkedKeys(group: string, topic: string, keys: readonly string[]): Promise<ReadonlySet<string>>;
  /**
   * Stores the message, and with that registers its key, in one transaction; durable when it resolves. Calls of one tick
   * share a commit.
   * @param head The claim on a head that failed: only if its fence still holds, and it ends as failed in the same
   *   transaction. Null for what follows a parked head: between the claim's answer and this call a replay may have emptied
   *   the key, and a message parked then would wait for nobody.
   */
  park(message: ParkedMessage, head: FreshClaim | null): Promise<ParkResult>;
  /** The parked keys, those parked first at the front; null: of any group, of any topic. */
  parked(group: string | null, topic: string | null, most: number): Promise<readonly ParkedKey[]>;
  /** The messages of a parked key, in the order in which they run. */
  parkedMessages(group: string, topic: string, key: string, most: number): Promise<readonly ParkedPlace[]>;
  /** Removes one: it has run, or a person gave it up. With the last of a key goes its registration, in one transaction. */
  unpark(place: number): Promise<boolean>;
}

/** How a claim ends: its effect is there, its attempt failed (it may be claimed again), or it was given up. */
export type InboxOutcome =
  | { readonly is: "done" }
  | { readonly is: "failed" }
  | { readonly is: "dead"; readonly reason: string };

/** Effects in the store's own transactions, for `effect: "tx"`. */
export interface InboxTransactions<Tx> {
  /**
   * Runs `effect` and writes the mark in one transaction, only if the claim's fence still holds. Resolves after the
   * commit's fsync.
   *
   * Effects take part as if one ran after the other. `effect` is called once more, with a new `tx`, after an undone
   * transaction in which it had read what was not so in the end.
   * @throws TallyError `fenced`; `handler-deadline` when `effect` kept others waiting for too long; whatever `effect`
   * throws, after its writes are undone.
   * @param effect Gets an object of its own for each run.
   */
  run<T>(claim: FreshClaim, effect: (tx: Tx) => Promise<T>): Promise<T>;
  /**
   * Stores rows in the effect's own transaction: sent if, and only if, it commits.
   * @throws TallyError `store` when the transaction is over.
   */
  put(tx: Tx, rows: readonly NewRow[]): Promise<readonly PutResult[]>;
  /** The outbox that these rows are in: the relay serves it like any other. Disposed of with the inbox. */
  readonly outbox: OutboxStore;
}
