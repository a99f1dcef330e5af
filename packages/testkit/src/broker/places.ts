/** What stands in a queue: its place is its rank, for as long as it lives. */
export interface Placed {
  readonly place: number;
}

/**
 * The messages of one queue that wait for a consumer, lowest place first. What comes back takes its old place: since
 * deliveries leave from the front, all that ever left lies before all that never did. So two parts are enough: a heap of
 * what came back, served first, and a plain line of what is fresh.
 */
export class Places<T extends Placed> {
  readonly #returned: T[] = [];
  #fresh: T[] = [];
  #head = 0;

  get size(): number {
    return this.#returned.length + this.#fresh.length - this.#head;
  }

  /** At the end: the place must be higher than any before. */
  push(entry: T): void {
    this.#fresh.push(entry);
  }

  /** Into its old place. */
  putBack(entry: T): void {
    const heap = this.#returned;
    let at = heap.length;
    heap.push(entry);
    while (at > 0) {
      const up = (at - 1) >> 1;
      if (heap[up]!.place <= entry.place) break;
      heap[at] = heap[up]!;
      at = up;
    }
    heap[at] = entry;
  }

  take(): T | undefined {
    if (this.#returned.length > 0) return this.#takeReturned();
    const entry = this.#fresh[this.#head];
    if (entry === undefined) return undefined;
    this.#head += 1;
    // What was taken must not be held; moving the rest once in a thousand takes costs nothing.
    if (this.#head === this.#fresh.length) {
      this.#fresh = [];
      this.#head = 0;
    } else if (this.#head >= 1024 && this.#head * 2 >= this.#fresh.length) {
      this.#fresh = this.#fresh.slice(this.#head);
      this.#head = 0;
    }
    return entry;
  }

  /** In order, without taking. */
  list(): T[] {
    return [...this.#returned.toSorted((a, b) => a.place - b.place), ...this.#fresh.slice(this.#head)];
  }

  #takeReturned(): T {
    const heap = this.#returned;
    const top = heap[0]!;
    const last = heap.pop()!;
    if (heap.length === 0) return top;
    let at = 0;
    for (;;) {
      let child = 2 * at + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && heap[child + 1]!.place < heap[child]!.place) child += 1;
      if (last.place <= heap[child]!.place) break;
      heap[at] = heap[child]!;
      at = child;
    }
    heap[at] = last;
    return top;
  }
}
