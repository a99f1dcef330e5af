/** Messages of fenced keys are let in at this share of what the relay gets rid of, or the backlog would never end. */
const SHARE = 0.8;
/**
 * When that left some waiting: somebody has to wait in any case, and does so for the shortest time if the backlog ends soon.
 * At four fifths it would last five times as long as the relay needs for what lies there.
 */
const SHARE_IN_A_CROWD = 0.2;
/** Saved-up admissions, at most: a relay that has been idle owes nobody a burst. */
const MOST_GRANTS = 64;

/** Who waits to be stored behind the rows of their keys, and how many may be, for so many rows as leave. */
export class Admission<Item> {
  readonly #again: (item: Item) => void;
  #waiting: Item[] = [];
  #grants = 0;
  /** The last admissions were fewer than those who waited for one. */
  #crowd = false;

  /** @param again Its turn may have come; whoever is not let in then waits on, behind those that came meanwhile. */
  constructor(again: (item: Item) => void) {
    this.#again = again;
  }

  /** Whether it may be stored now; else it waits. */
  takes(item: Item): boolean {
    if (this.#grants < 1) {
      this.wait(item);
      return false;
    }
    this.#grants--;
    return true;
  }

  wait(item: Item): void {
    this.#waiting.push(item);
  }

  /** So many rows have left. */
  left(rows: number): void {
    this.#grants = Math.min(MOST_GRANTS, this.#grants + (this.#crowd ? SHARE_IN_A_CROWD : SHARE) * rows);
    this.askAll();
    this.#crowd = this.#waiting.length > 0;
  }

  /** In their order, each anew: its key may be free by now, or it takes one of the grants, or it waits on. */
  askAll(): void {
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const item of waiting) this.#again(item);
  }
}
