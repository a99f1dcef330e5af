/** What stands in a {@link Queue}, in one at a time: intrusive links, so that joining and leaving allocates nothing. */
export interface Queued {
  queue: Queue<Queued> | null;
  ahead: Queued | null;
  behind: Queued | null;
}

/**
 * A line that can be left from anywhere in constant time. Messages wait for hours while a broker is away, and their
 * callers give up: who has left must leave nothing behind, or the line would grow for as long as it does not move.
 */
export class Queue<T extends Queued> {
  #first: Queued | null = null;
  #last: Queued | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get first(): T | null {
    return this.#first as T | null;
  }

  push(item: T): void {
    item.queue = this as unknown as Queue<Queued>;
    item.ahead = this.#last;
    if (this.#last === null) this.#first = item;
    else this.#last.behind = item;
    this.#last = item;
    this.#size++;
  }

  shift(): T | null {
    const first = this.#first as T | null;
    if (first !== null) this.remove(first);
    return first;
  }

  /** `item` stands in this one. */
  remove(item: T): void {
    const { ahead, behind } = item;
    if (ahead === null) this.#first = behind;
    else ahead.behind = behind;
    if (behind === null) this.#last = ahead;
    else behind.ahead = ahead;
    item.queue = null;
    item.ahead = null;
    item.behind = null;
    this.#size--;
  }
}
