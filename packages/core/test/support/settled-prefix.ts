/**
 * Which acks may be merged (rule: only over a fully settled prefix of a lane). A merged ack covers every lower place, so
 * it may name only the last place of a prefix that has no gap; what is settled behind an unfinished place waits, or is
 * acked alone.
 *
 * Places are the numbers of one lane in the order of delivery: 1, 2, 3 … (a channel's delivery tags), or any rising
 * whole numbers without holes.
 */
export class SettledPrefix {
  #low: number;
  readonly #beyond: Set<number> = new Set();

  /** @param first The first place of the lane. */
  constructor(first: number) {
    this.#low = first - 1;
  }

  /** The last place of the fully settled prefix; `first - 1` while there is none. */
  get end(): number {
    return this.#low;
  }

  /** Settled places beyond the prefix, in no order: each waits for an unfinished place before it. */
  get beyond(): ReadonlySet<number> {
    return this.#beyond;
  }

  /** Marks a place as settled; false if it was settled before. */
  settle(place: number): boolean {
    if (place <= this.#low || this.#beyond.has(place)) return false;
    this.#beyond.add(place);
    while (this.#beyond.delete(this.#low + 1)) this.#low++;
    return true;
  }
}
