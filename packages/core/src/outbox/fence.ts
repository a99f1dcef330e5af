import { FENCE_SLOTS } from "../stores.ts";

/** The slot of an ordered key: FNV-1a over the UTF-16 units, folded to 16 bits. Rows keep it: it never changes. */
export function slotOf(destination: string, topic: string, key: string): number {
  let hash = 0x811c9dc5;
  for (const part of [destination, topic, key]) {
    for (let i = 0; i < part.length; i++) hash = Math.imul(hash ^ part.charCodeAt(i), 0x01000193);
    // No text holds it: a name's end is not the next one's beginning.
    hash = Math.imul(hash ^ 0x10000, 0x01000193);
  }
  return ((hash >>> 16) ^ hash) & (FENCE_SLOTS - 1);
}

/**
 * Which ordered keys have rows in the outbox, by slot: their next message must go behind those rows, not past them on the
 * wire. Two keys of one slot share a fence, which costs a detour through the outbox and never an order; memory does not
 * grow with keys.
 */
export class Fence {
  /** Rows that this process has put; exact, since the order of its own publishes hangs on it. */
  readonly #own: Uint32Array = new Uint32Array(FENCE_SLOTS);
  /** Rows of other incarnations and processes, as far as the last reading knew. */
  readonly #others: Uint32Array = new Uint32Array(FENCE_SLOTS);
  #total = 0;
  #known = false;

  /** Rows behind fences. */
  get total(): number {
    return this.#total;
  }

  /** The store has been read. Until then nothing is known, and every ordered key is fenced. */
  get known(): boolean {
    return this.#known;
  }

  closed(slot: number): boolean {
    return !this.#known || at(this.#own, slot) + at(this.#others, slot) > 0;
  }

  /** Rows that this process has put. */
  own(slot: number): boolean {
    return at(this.#own, slot) > 0;
  }

  /** A row of this process. */
  add(slot: number): void {
    this.#own[slot] = at(this.#own, slot) + 1;
    this.#total++;
  }

  /** A row is gone from the store, or did not get into it. Someone else's row never opens the fence of our own. */
  remove(slot: number, own: boolean): void {
    const counts = own ? this.#own : this.#others;
    if (at(counts, slot) === 0) return; // a later reading has counted it out already
    counts[slot] = at(counts, slot) - 1;
    this.#total--;
  }

  /**
   * What the store says, in place of what was counted. `pending`: slots of rows that this process is storing right now and
   * that the reading may have missed; one that is counted twice keeps its fence closed until the next reading.
   */
  read(counts: Uint32Array, pending: Iterable<number>): void {
    const due = Uint32Array.from(counts);
    for (const slot of pending) due[slot] = at(due, slot) + 1;
    this.#total = 0;
    for (let slot = 0; slot < FENCE_SLOTS; slot++) {
      const own = Math.min(at(this.#own, slot), at(due, slot));
      this.#own[slot] = own;
      this.#others[slot] = at(due, slot) - own;
      this.#total += at(due, slot);
    }
    this.#known = true;
  }
}

function at(counts: Uint32Array, slot: number): number {
  return counts[slot] ?? 0;
}
