import { TallyError } from "../error.ts";
import { slotOf } from "../outbox/fence.ts";
import type { OutboxMode, SpillPolicy } from "../outbox/options.ts";
import { Outbox } from "../outbox/outbox.ts";
import type { Runtime } from "../runtime.ts";
import type { Proof } from "../port/sending.ts";
import type { OutboxStore, PutResult } from "../stores.ts";
import type { Breakers } from "./breakers.ts";
import type { Ends } from "./ends.ts";
import type { Entry } from "./entry.ts";
import type { Wire } from "./lanes.ts";
import { unstored } from "./rejections.ts";
import type { Relayed } from "./relayed.ts";
import type { Senders } from "./senders.ts";
import type { Timers } from "./timers.ts";
import { BACKOFF, ENDED, next, OVERDUE, WAITING, WIRE } from "./transitions.ts";
import type { Turns } from "./turns.ts";

/** The stores that a publisher serves, open; at least one of them, and when the first takes over. */
export interface Spill {
  /** Takes what the broker does not, for as long as that lasts. */
  readonly store: OutboxStore | null;
  /** Takes what handlers publish in their transactions, and what must stand behind that; nothing else. */
  readonly transactions?: OutboxStore | null;
  readonly policy: SpillPolicy;
}

export interface SpillingOptions {
  readonly runtime: Runtime;
  readonly spill: Spill;
  readonly breakers: Breakers;
  readonly ends: Ends;
  readonly relayed: Relayed;
  readonly senders: Senders;
  readonly timers: Timers;
  readonly turns: Turns;
  readonly wire: Wire;
}

/** What a row in the outbox vouches for. */
export const STORED: Proof = Object.freeze({ routed: "unverified", persisted: "yes", replicated: "unverified" });

/**
 * Between publisher and outboxes: which messages are to be stored, where, and what follows from that. Each store has its own
 * fence and relay; on their way to the broker the rows of both are alike ({@link Relayed}).
 *
 * The rows that this process has put for one key are in one store at a time, so that two relays cannot part them: what is
 * published goes behind those that are there ({@link #of}), and a transaction's publish, which has no choice, is refused
 * while earlier ones of its key are elsewhere ({@link mayTransact}).
 */
export class Spilling {
  readonly #o: SpillingOptions;
  readonly #fallback: Outbox<Entry> | null;
  readonly #transactions: Outbox<Entry> | null;

  constructor(options: SpillingOptions) {
    this.#o = options;
    const { store, transactions = null, policy } = options.spill;
    this.#fallback = store === null ? null : this.#outbox(store, policy.after);
    this.#transactions = transactions === null ? null : this.#outbox(transactions, null);
  }

  /** Before anything else is done with a new message. */
  fence(entry: Entry, topic: { readonly outbox: OutboxMode; readonly dedupeFor: number }): void {
    const { message } = entry;
    entry.mode = topic.outbox;
    entry.dedupeForMs = topic.dedupeFor;
    if (entry.mode !== "off" && message.ordered) entry.slot = this.slot(message.topic, message.key);
  }

  slot(topic: string, key: string | null): number {
    return slotOf(this.#o.runtime.transport.name, topic, key ?? "");
  }

  /** Whether the outbox keeps a message that is ready to go: stores it now, or lets it wait for the rows of its key. */
  takes(entry: Entry): boolean {
    if (entry.relayed !== null || entry.mode === "off") return false;
    if (entry.put !== null) return this.#release(entry, entry.put);
    const outbox = this.#of(entry);
    if (outbox === null) return false;
    const turn = this.#o.breakers.bars(entry) ? "store" : outbox.turn(entry);
    if (turn === "store") this.#spill(entry, outbox);
    return turn !== "direct";
  }

  /** The outbox of transactions, which others put into: it is told of their rows by `reserve` and `settle`. */
  get transactions(): Pick<Outbox<Entry>, "reserve" | "settle"> | null {
    return this.#transactions;
  }

  /** Whether a row of this slot may be put by a transaction: none is in the other store, as far as that is known. */
  mayTransact(slot: number): boolean {
    return this.#fallback === null || !this.#fallback.fenced(slot);
  }

  /** A row has come into the fallback's store by another way. */
  stored(): void {
    this.#fallback?.wake();
  }

  /** The session can be used when it is open, read by the broker, and none of its lanes is silent. */
  health(): void {
    const session = this.#o.senders.current;
    const usable = session !== null && !session.blocked && !this.#o.wire.silent;
    this.#fallback?.usable(usable);
    this.#transactions?.usable(usable);
  }

  /** Of these topics so many rows may be on their way, at most. */
  limit(topics: ReadonlyMap<string, number>): void {
    this.#fallback?.limit(topics);
    this.#transactions?.limit(topics);
  }

  /** Rows are not parked any more, or gone, by a person's word. */
  rowsChanged(): void {
    this.#fallback?.rowsChanged();
    this.#transactions?.rowsChanged();
  }

  /** The relays take no more rows. */
  finish(): void {
    this.#fallback?.finish();
    this.#transactions?.finish();
  }

  /** Stores what has not come to its end, if it may be stored. Resolves when the stores have answered. */
  async close(): Promise<void> {
    this.#spillAll(true);
    await Promise.all([this.#fallback?.close(), this.#transactions?.close()]);
  }

  #outbox(store: OutboxStore, spillAfter: number | null): Outbox<Entry> {
    const { relayed, runtime, spill, turns } = this.#o;
    return new Outbox<Entry>({
      runtime,
      store,
      spillAfter,
      relayWindow: spill.policy.relayWindow,
      spill: () => this.#spillAll(false),
      put: (entry, result) => this.#put(entry, result),
      again: (entry) => {
        if (entry.state === WAITING) turns.route(entry);
      },
      send: (row, done) => relayed.send(store, row, done),
      withdraw: (slot) => relayed.withdrawAll(store, slot),
    });
  }

  /**
   * Where a message would be stored: behind the rows of its key that this process has put, else behind those of others,
   * else where everything goes while the broker is away. Null: nowhere.
   */
  #of(entry: Entry): Outbox<Entry> | null {
    const [fallback, transactions, { slot }] = [this.#fallback, this.#transactions, entry];
    if (transactions === null || slot === null) return fallback;
    if (fallback?.fenced(slot, true) === true) return fallback;
    return transactions.fenced(slot) ? transactions : fallback;
  }

  /**
   * Everything that waits; and what a blocked broker has not read, as far as anyone can know.
   * @param wire What is on the wire as well: its time is up.
   */
  #spillAll(wire: boolean): void {
    for (const entry of this.#o.ends.waiting()) {
      const { state } = entry;
      if (entry.mode === "off" || entry.relayed !== null || entry.put !== null) continue;
      const outbox = this.#of(entry);
      if (outbox === null) continue;
      const unread = state === WIRE && (wire || entry.batch?.session.blocked === true);
      if (state === WAITING || state === BACKOFF || state === OVERDUE || unread) this.#spill(entry, outbox);
    }
    // A silent lane that has nothing left to send is probed by what comes next.
    this.health();
  }

  /** Whether it would be stored if it could not be sent. */
  spills(entry: Entry): boolean {
    return entry.relayed === null && entry.mode !== "off" && this.#of(entry) !== null;
  }

  /** Stores it: no more copies from here on. */
  spill(entry: Entry): void {
    const outbox = this.#of(entry);
    if (outbox !== null) this.#spill(entry, outbox);
  }

  #spill(entry: Entry, outbox: Outbox<Entry>): void {
    const { message, slot } = entry;
    const doubtful = entry.doubted || entry.open > 0;
    if (entry.batch !== null) this.#o.wire.forget(entry);
    entry.queue?.remove(entry);
    entry.state = next(entry.state, "spill");
    this.#o.timers.arm(entry);
    outbox.store(entry, {
      destination: this.#o.runtime.transport.name,
      slot,
      message: { ...message },
      doubtful,
      lane: doubtful ? this.#o.wire.kept(entry) : null,
      dedupeForMs: entry.dedupeForMs,
    });
  }

  /** What its store has already becomes a row there, unless its key has rows in the other store: these go first. */
  #release(entry: Entry, put: () => Promise<PutResult>): boolean {
    const [fallback, transactions, { slot }] = [this.#fallback, this.#transactions, entry];
    if (fallback === null) return false;
    if (slot !== null && transactions?.fenced(slot) === true && !fallback.fenced(slot, true)) transactions.hold(entry);
    else {
      entry.state = next(entry.state, "spill");
      fallback.storeBy(entry, put);
    }
    return true;
  }

  #put(entry: Entry, result: PutResult | TallyError): void {
    if (entry.state === ENDED) return; // accepted meanwhile: the row will be a duplicate, with the same id
    const { ends, runtime, timers } = this.#o;
    if (entry.put !== null) {
      entry.state = next(entry.state, "stored");
      return ends.end(entry);
    }
    const { topic, id } = entry.message;
    if (result === "stored" || result === "same") {
      entry.state = next(entry.state, "stored");
      runtime.events.emit({ type: "spilled", topic, id, doubtful: entry.doubted || entry.open > 0 });
      return ends.accept(entry, STORED, "stored");
    }
    entry.lastError = unstored(id, topic, result);
    if (entry.lastError.mayArrive) entry.doubted = true;
    entry.state = next(entry.state, entry.open === 0 ? "unstoredLast" : "unstored");
    if (entry.state === ENDED) ends.reject(entry);
    else timers.expect(entry);
  }
}
