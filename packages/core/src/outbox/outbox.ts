import type { Timer } from "../clock.ts";
import { describe, TallyError } from "../error.ts";
import { failpoint } from "../failpoints.ts";
import type { Runtime } from "../runtime.ts";
import type { NewRow, OutboxStore, PutResult, Row } from "../stores.ts";
import { Admission } from "./admission.ts";
import { FenceKeeper } from "./fence-keeper.ts";
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
  readonly #fence: FenceKeeper;
  readonly #admission: Admission<Item>;
  readonly #relay: Relay;
  #rows: { readonly item: Item; readonly row: NewRow }[] = [];
  /** Rows that this puts itself: they come to their end without anybody's help. */
  #puts = 0;
  readonly #flushes: Set<Promise<void>> = new Set();
  #usable = false;
  #spilling = false;
  #timer: Timer | null = null;
  #closed = false;

  constructor(options: OutboxOptions<Item>) {
    this.#o = options;
    this.#fence = new FenceKeeper({
      runtime: options.runtime,
      store: options.store,
      relays: () => this.#relay.holds,
      moves: () => this.#moves,
      read: () => {
        if (options.spillAfter === null) this.#admission.askAll();
      },
    });
    this.#admission = new Admission(options.again);
    this.#relay = new Relay({
      runtime: options.runtime,
      store: options.store,
      most: options.relayWindow,
      send: options.send,
      withdraw: options.withdraw,
      readings: () => this.#fence.readings,
      ended: (rows, readings) => this.#ended(rows, readings),
      rests: () => this.#admission.askAll(),
    });
    this.#wait();
    void this.#fence.start();
  }

  /** Rows of a slot are in the store, or being put: all that this knows of, or only those of this process. */
  fenced(slot: number, own = false): boolean {
    return this.#fence.fenced(slot, own);
  }

  /** Whether it is stored wherever its key stands. */
  spills(item: Item): boolean {
    return this.#o.spillAfter !== null && (item.mode === "always" || this.#spilling);
  }

  /** Where this message goes now: to the broker, into the store, or nowhere until `again`. */
  turn(item: Item): "direct" | "store" | "wait" {
    if (item.mode === "off") return "direct";
    if (this.spills(item)) return "store";
    if (item.slot === null || !this.#fence.fenced(item.slot, false)) return "direct";
    if (this.#closed) return "store";
    if (this.#o.spillAfter === null && !this.#fence.known) {
      // Nobody asked for a store here: what need not go into it waits until that is known.
      this.#admission.wait(item);
      return "wait";
    }
    // Behind the rows of its key. While these move, no faster than they do; behind a parked one nothing moves.
    return !this.#moves || this.#admission.takes(item) ? "store" : "wait";
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
    this.#admission.wait(item);
  }

  /** There may be new rows. */
  wake(): void {
    this.#relay.wake();
  }

  /** A row is on its way into the store: its key is fenced from now on. Ends with `settle` of the same token. */
  reserve(token: object, slot: number | null): void {
    this.#fence.reserve(token, slot);
  }

  /** `unsure`: nobody can tell whether it is in the store. Its key stays fenced until that has been read. */
  settle(token: object, is: "stored" | "gone" | "unsure"): void {
    this.#fence.settle(token, is);
    if (is !== "gone") this.#relay.wake();
    else if (!this.#moves) this.#admission.askAll();
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
    void this.#fence.refill();
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
    this.#admission.askAll();
    this.#timer?.cancel();
    this.#fence.close();
    while (this.#flushes.size > 0) await Promise.allSettled(this.#flushes);
    await this.#relay.close();
  }

  #wait(): void {
    const { spillAfter } = this.#o;
    if (spillAfter === null) return;
    this.#timer = this.#o.runtime.clock.after(spillAfter, () => {
      this.#spilling = true;
      this.#admission.askAll();
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
            mayArrive: true,
          });
      results = batch.map(() => error);
    }
    for (const [i, { item }] of batch.entries()) {
      const result = results[i] ?? new TallyError("store", "the outbox gave no answer for a row", { mayArrive: true });
      // A row that was there already has its place in the fence.
      this.#puts--;
      if (TallyError.is(result) && result.mayArrive) this.settle(item, "unsure");
      else this.settle(item, result === "stored" ? "stored" : "gone");
      this.#o.put(item, result);
    }
  }

  #ended(rows: readonly Row[], readings: number): void {
    this.#fence.ended(rows, readings);
    this.#admission.left(rows.length);
    if (!this.#moves) this.#admission.askAll();
  }

  /** Rows leave, or will: those that are being put are relayed next. Who waits for them is not let in behind them meanwhile. */
  get #moves(): boolean {
    return this.#relay.holds && (this.#relay.moves || this.#puts > 0);
  }
}
