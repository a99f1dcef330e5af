import type { Timer } from "../clock.ts";
import { describe } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { OutboxStore, Row } from "../stores.ts";
import { Fence } from "./fence.ts";

export interface FenceKeeperOptions {
  readonly runtime: Runtime;
  readonly store: OutboxStore;
  /** This process relays: what leaves the store is counted here. */
  relays(): boolean;
  /** Rows are leaving, or will. */
  moves(): boolean;
  /** The fence is as the store says, but for rows that came or went meanwhile. */
  read(): void;
}

const REFRESH_MS = 1_000;
/** After so many of these a reading is made though rows are put or relayed meanwhile. */
const MOST_LOOKS = 10;

/**
 * Keeps the fence of one store true: counts the rows that this process puts and relays, and reads it from the store at
 * open, and now and then while another process relays our rows. Rows come and go while a reading is under way: where it
 * may have missed one it closes the fence for it, and where it may have counted one twice it is made again.
 */
export class FenceKeeper {
  readonly #o: FenceKeeperOptions;
  readonly #fence: Fence = new Fence();
  /** Being stored right now: in the fence already, perhaps not yet in what the store says. */
  readonly #putting: Map<object, number | null> = new Map();
  /** Slots of rows that were stored while a reading was under way: it may have missed them. */
  #missed: number[] | null = null;
  /** Rows ended while a reading was under way: it may count them. */
  #ambiguous = false;
  /** The last reading may have counted a row twice. */
  #again = false;
  /** Looks since the last reading. */
  #looks = 0;
  #readings = 0;
  /** The last reading. */
  #reading: Promise<void> = Promise.resolve();
  #refresh: Timer | null = null;
  #closed = false;

  constructor(options: FenceKeeperOptions) {
    this.#o = options;
  }

  /** Readings so far. */
  get readings(): number {
    return this.#readings;
  }

  /** The store has been read. */
  get known(): boolean {
    return this.#fence.known;
  }

  /** Rows of a slot are in the store, or being put: all that this knows of, or only those of this process. */
  fenced(slot: number, own: boolean): boolean {
    return own ? this.#fence.own(slot) : this.#fence.closed(slot);
  }

  /** A row is on its way into the store. Ends with `settle` of the same token. */
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
  }

  /** These rows are gone from the store; `readings` as it was when that was asked for. */
  ended(rows: readonly Row[], readings: number): void {
    const { run } = this.#o.runtime;
    // A reading that came between may have counted them out already: to do so twice would let messages pass those behind them.
    if (readings === this.#readings)
      for (const { slot, message } of rows) if (slot !== null) this.#fence.remove(slot, message.run === run);
    if (readings !== this.#readings || this.#missed !== null) this.#again = this.#ambiguous = true;
  }

  /** Reads it, and goes on doing so. */
  async start(): Promise<void> {
    await this.refill();
    if (this.#closed) return;
    this.#o.read();
    this.#wait();
  }

  /** One after another: each has to know what was put while it was on its way. */
  refill(): Promise<void> {
    return (this.#reading = this.#reading.then(() => this.#read()));
  }

  close(): void {
    this.#closed = true;
    this.#refresh?.cancel();
  }

  async #read(): Promise<void> {
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

  #wait(): void {
    this.#refresh = this.#o.runtime.clock.after(REFRESH_MS, () => this.#look());
  }

  #look(): void {
    const { known, total } = this.#fence;
    // Whoever relays counts for itself. What a reading could not tell (rows were put or relayed meanwhile) is read again when
    // none are, or after a while.
    const again = this.#again && (++this.#looks >= MOST_LOOKS || (this.#putting.size === 0 && !this.#o.moves()));
    if (!known || again || (total > 0 && !this.#o.relays())) {
      this.#looks = 0;
      void this.start();
    } else this.#wait();
  }
}
