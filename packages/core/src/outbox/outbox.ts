// One thing: who is sent, stored or kept waiting because of one store, and the fence that this hangs on.
import type { Timer } from "../clock.ts";
import { describe, TallyError } from "../error.ts";
import { failpoint } from "../failpoints.ts";
import type { Runtime } from "../runtime.ts";
import type { NewRow, OutboxStore, PutResult, Row } from "../stores.ts";
import { Fence } from "./fence.ts";
import type { OutboxMode } from "./options.ts";
import { Relay, type RelayOutcome } from "./relay.ts";

/** What the outbox needs of a message: its fence. */
export interface Spillable {
  readonly mode: OutboxMode;
  /** Of its ordered key; null: of no order. */
  readonly slot: number | null;
}

export interface OutboxOptions<Item extends Spillable> {
  readonly runtime: Runtime;
  readonly store: OutboxStore;
  /** Everything is stored when the session has been unusable for so long, in ms; null: only what must stand behind rows. */
  readonly spillAfter: number | null;
  readonly relayWindow: number;
  /** The session has been unusable for long enough: everything that waits is to be put. */
  spill(): void;
  /** The row's fate; `stored` and `same` are fsynced. */
  put(item: Item, result: PutResult | TallyError): void;
  /** Its turn has come after `turn` said `wait`: ask `turn` again. */
  again(item: Item): void;
  send(row: Row, done: (outcome: RelayOutcome) => void): void;
  withdraw(slot: number | null): void;
}

/** Messages of fenced keys are let in at this share of what the relay gets rid of, or the backlog would never end. */
const SHARE = 0.8;
/**
 * When that left some waiting: somebody has to wait in any case, and does so for the shortest time if the backlog ends soon.
 * At four fifths it would last five times as long as the relay needs for what lies there.
 */
const SHARE_IN_A_CROWD = 0.2;
/** Saved-up admissions, at most: a relay that has been idle owes nobody a burst. */
const MOST_GRANTS = 64;
const REFRESH_MS = 1_000;
/** After so many of these a reading is made though rows are put or relayed meanwhile. */
const MOST_LOOKS = 10;

/**
 * One store: decides for each message whether it may go to the broker or has to be stored, keeps the fence, and relays.
 *
 * - *direct*: the session can be used. Messages go to the broker, except where their key has rows in the store.
 * - *spilling*: it could not be used for `spillAfter` ms. Everything is stored, until it can be used again.
 *
 * A store that only transactions write into (`spillAfter: null`) is never *spilling*.
 */
export class Outbox<Item extends Spillable> {
  readonly #o: OutboxOptions<Item>;
  readonly #fence: Fence = new Fence();
  readonly #relay: Relay;
  /** Being stored right now: in the fence already, perhaps not yet in what the store says. */
  readonly #putting: Map<object, number | null> = new Map();
  /** Slots of rows that were stored while a reading of the fence was under way: it may have missed them. */
  #missed: number[] | null = null;
  /** The last reading may have counted a row twice. */
  #again = false;
  /** Those of them that this puts itself: they come to their end without anybody's help. */
  #puts = 0;
  #rows: { readonly item: Item; readonly row: NewRow }[] = [];
  #throttled: Item[] = [];
  /** Readings of the fence so far, and looks since the last one. */
  #readings = 0;
  #looks = 0;
  /** Rows ended while the fence was being read: it may count them. */
  #ambiguous = false;
  #grants = 0;
  /** The last admissions were fewer than those who waited for one. */
  #crowd = false;
  readonly #flushes: Set<Promise<void>> = new Set();
  #usable = false;
  #spilling = false;
  #timer: Timer | null = null;
  #refresh: Timer | null = null;
  #closed = false;
  /** The last reading of the fence. */
  #filling: Promise<void> = Promise.resolve();
  /** Rows stored since open. */
  spilled = 0;

  constructor(options: OutboxOptions<Item>) {
    this.#o = options;
    this.#relay = new Relay({
      runtime: options.runtime,
      store: options.store,
      most: options.relayWindow,
      send: options.send,
      withdraw: options.withdraw,
      readings: () => this.#readings,
      ended: (rows, readings) => this.#ended(rows, readings),
      rests: () => this.#letAllIn(),
    });
    this.#wait();
    void this.#read();
  }

  /** Rows of a slot are in the store, or being put: all that this knows of, or only those of this process. */
  fenced(slot: number, own = false): boolean {
    return own ? this.#fence.own(slot) : this.#fence.closed(slot);
  }

  /** Whether it is stored wherever its key stands. */
  spills(item: Item): boolean {
    return this.#o.spillAfter !== null && (item.mode === "always" || this.#spilling);
  }

  /** Where this message goes now: to the broker, into the store, or nowhere until `again`. */
  turn(item: Item): "direct" | "store" | "wait" {
    if (item.mode === "off") return "direct";
    if (this.spills(item)) return "store";
    if (item.slot === null || !this.#fence.closed(item.slot)) return "direct";
    if (this.#closed) return "store";
    if (this.#o.spillAfter === null && !this.#fence.known) {
      // Nobody asked for a store here: what need not go into it waits until that is known.
      this.#throttled.push(item);
      return "wait";
    }
    // Behind the rows of its key. While these move, no faster than they do; behind a parked one nothing moves.
    if (!this.#moves) return "store";
    if (this.#grants >= 1) {
      this.#grants--;
      return "store";
    }
    this.#throttled.push(item);
    return "wait";
  }

  /** Stores it; those of one tick together. `put` says how that ended. */
  store(item: Item, row: NewRow): void {
    this.reserve(item, item.slot);
    this.#puts++;
    this.#rows.push({ item, row });
    if (this.#rows.length > 1) return;
    const flush = Promise.resolve()
      .then(() => this.#flush())
      .finally(() => this.#flushes.delete(flush));
    this.#flushes.add(flush);
  }

  /** As `store`, for what the store has already and makes a row of. `put` ends when the store has answered, or at the close. */
  storeBy(item: Item, put: () => Promise<PutResult>): void {
    this.reserve(item, item.slot);
    const answered = (result: PutResult | TallyError): void => {
      // One that was a row already may have become it elsewhere: the fence has to be read.
      const unsure = TallyError.is(result) || result === "same";
      this.settle(item, unsure ? "unsure" : result === "stored" ? "stored" : "gone");
      this.#o.put(item, result);
    };
    const flush = put()
      .then(answered, (thrown: unknown) =>
        answered(TallyError.is(thrown) ? thrown : new TallyError("store", describe(thrown), { cause: thrown })),
      )
      .finally(() => this.#flushes.delete(flush));
    this.#flushes.add(flush);
  }

  /** It waits for rows of this store: `again` comes as after `turn` said `wait`. */
  hold(item: Item): void {
    this.#throttled.push(item);
  }

  /** There may be new rows. */
  wake(): void {
    this.#relay.wake();
  }

  /** A row is on its way into the store: its key is fenced from now on. Ends with `settle` of the same token. */
  reserve(token: object, slot: number | null): void {
    this.#putting.set(token, slot);
    if (slot !== null) this.#fence.add(slot);
  }

  /** `unsure`: nobody can tell whether it is in the store. Its key stays fenced until that has been read. */
  settle(token: object, is: "stored" | "gone" | "unsure"): void {
    const slot = this.#putting.get(token) ?? null;
    this.#putting.delete(token);
    if (slot !== null && is === "gone") this.#fence.remove(slot, true);
    if (slot !== null && is === "stored") this.#missed?.push(slot);
    if (is === "unsure") this.#again = true;
    if (is !== "gone") this.#relay.wake();
    else if (!this.#moves) this.#letAllIn();
  }

  /** The session can be used, or cannot. */
  usable(is: boolean): void {
    if (is === this.#usable || this.#closed) return;
    this.#usable = is;
    this.#relay.usable(is);
    if (!is) return this.#wait();
    this.#timer?.cancel();
    this.#timer = null;
    this.#spilling = false;
  }

  /** Rows are not parked any more, or gone, by a person's word: the fence and the relay look anew. */
  rowsChanged(): void {
    void this.#refill();
    this.#relay.wake();
  }

  /** Of these topics so many rows may be on their way, at most. */
  limit(topics: ReadonlyMap<string, number>): void {
    this.#relay.limit(topics);
  }

  /** The relay takes no more rows; those on their way come to their end. */
  finish(): void {
    this.#relay.finish();
  }

  /** Ends the waiting and the relay, not the store. Resolves when all that was to be put has its answer. */
  async close(): Promise<void> {
    this.#closed = true;
    this.#letAllIn();
    this.#timer?.cancel();
    this.#refresh?.cancel();
    while (this.#flushes.size > 0) await Promise.allSettled(this.#flushes);
    await this.#relay.close();
  }

  #wait(): void {
    const { spillAfter } = this.#o;
    if (spillAfter === null) return;
    this.#timer = this.#o.runtime.clock.after(spillAfter, () => {
      this.#spilling = true;
      this.#letAllIn();
      this.#o.spill();
    });
  }

  async #flush(): Promise<void> {
    const batch = this.#rows;
    this.#rows = [];
    let results: readonly (PutResult | TallyError)[];
    failpoint("outbox.putting");
    try {
      results = await this.#o.store.put(batch.map(({ row }) => row));
      failpoint("outbox.stored");
    } catch (thrown) {
      const error = TallyError.is(thrown)
        ? thrown
        : new TallyError("store", `the outbox could not be written: ${describe(thrown)}`, {
            cause: thrown,
            retryable: true,
          });
      results = batch.map(() => error);
    }
    for (const [i, { item }] of batch.entries()) {
      const result = results[i] ?? new TallyError("store", "the outbox gave no answer for a row");
      // A row that was there already has its place in the fence.
      this.#puts--;
      this.settle(item, result === "stored" ? "stored" : "gone");
      if (result === "stored") this.spilled++;
      this.#o.put(item, result);
    }
  }

  #ended(rows: readonly Row[], readings: number): void {
    const { run } = this.#o.runtime;
    // A reading that came between may have counted them out already: to do so twice would let messages pass those behind them.
    if (readings === this.#readings)
      for (const { slot, message } of rows) if (slot !== null) this.#fence.remove(slot, message.run === run);
    if (readings !== this.#readings || this.#missed !== null) this.#again = this.#ambiguous = true;
    this.#grants = Math.min(MOST_GRANTS, this.#grants + (this.#crowd ? SHARE_IN_A_CROWD : SHARE) * rows.length);
    const waiting = this.#throttled;
    this.#throttled = [];
    // In their order, each asked anew: its key may be free by now, or it takes one of the grants, or it waits on.
    for (const item of waiting) this.#o.again(item);
    this.#crowd = this.#throttled.length > 0;
    if (!this.#moves) this.#letAllIn();
  }

  /** Rows leave, or will: those that are being put are relayed next. Who waits for them is not let in behind them meanwhile. */
  get #moves(): boolean {
    return this.#relay.holds && (this.#relay.moves || this.#puts > 0);
  }

  #letAllIn(): void {
    const waiting = this.#throttled;
    this.#throttled = [];
    for (const item of waiting) this.#o.again(item);
  }

  /** The fence as the store has it: at open, and now and then while another process relays our rows. */
  async #read(): Promise<void> {
    await this.#refill();
    if (this.#closed) return;
    if (this.#o.spillAfter === null) this.#letAllIn();
    this.#refresh = this.#o.runtime.clock.after(REFRESH_MS, () => this.#look());
  }

  /** One after another: each has to know what was put while it was on its way. */
  #refill(): Promise<void> {
    return (this.#filling = this.#filling.then(() => this.#fill()));
  }

  async #fill(): Promise<void> {
    const missed: number[] = (this.#missed = []);
    this.#ambiguous = false;
    try {
      const counts = await this.#o.store.busySlots();
      const pending = [...this.#putting.values(), ...missed].filter((slot) => slot !== null);
      this.#again = pending.length > 0 || this.#ambiguous;
      this.#fence.read(counts, pending);
      this.#readings++;
    } catch (thrown) {
      this.#o.runtime.events.emit({
        type: "surfaced",
        what: "outbox",
        text: `the fence could not be read: ${describe(thrown)}`,
      });
    }
    this.#missed = null;
  }

  #look(): void {
    const { known, total } = this.#fence;
    // Whoever relays counts for itself. What a reading could not tell (rows were put or relayed meanwhile) is read again when
    // none are, or after a while.
    const again = this.#again && (++this.#looks >= MOST_LOOKS || (this.#putting.size === 0 && !this.#moves));
    if (!known || again || (total > 0 && !this.#relay.holds)) {
      this.#looks = 0;
      void this.#read();
    } else this.#refresh = this.#o.runtime.clock.after(REFRESH_MS, () => this.#look());
  }
}
