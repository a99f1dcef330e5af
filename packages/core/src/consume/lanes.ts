/** What {@link Lanes} needs of a piece of work; the links are its own. */
export interface LaneItem<Self> {
  /** The heads of the keys of this item's topic. */
  readonly keys: Map<string, Self>;
  /** Items of one key run one after another; null: it has a lane to itself. */
  readonly key: string | null;
  /** Next in the ready queue. */
  next: Self | null;
  /** Next of the same key. */
  behind: Self | null;
  /** Last of the same key; kept on the key's head only. */
  last: Self | null;
}

/**
 * Runs items, at most `limit` at once, and those of a key one after another in the order in which they were added.
 *
 * An item is `ready` (its turn in its key, waiting for a free lane), running (`start` was called, `leave` not yet), or
 * off the lanes but still the head of its key (between two attempts), until `end` lets the next of its key come. A key is
 * in the map only while it has a head: the map holds no more keys than there are items in hand.
 */
export class Lanes<Item extends LaneItem<Item>> {
  readonly #limit: number;
  readonly #start: (item: Item) => void;
  #first: Item | null = null;
  #last: Item | null = null;
  #running = 0;
  #paused = false;
  #pumping = false;

  constructor(limit: number, start: (item: Item) => void) {
    this.#limit = limit;
    this.#start = start;
  }

  get running(): number {
    return this.#running;
  }

  /** Adds without starting anything: `pump` follows. */
  add(item: Item): void {
    if (item.key === null) return this.#push(item);
    const head = item.keys.get(item.key);
    if (head === undefined) {
      item.last = item;
      item.keys.set(item.key, item);
      this.#push(item);
    } else {
      head.last!.behind = item;
      head.last = item;
    }
  }

  /** The head of its key wants to run again; before all others, as it is older. */
  again(item: Item): void {
    item.next = this.#first;
    this.#first = item;
    this.#last ??= item;
    this.pump();
  }

  /** Starts what may start. What items do in `start` (also `leave` and `end`) is seen by this same loop, not by a deeper one. */
  pump(): void {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      while (this.#first !== null && this.#running < this.#limit && !this.#paused) {
        const item = this.#first;
        this.#first = item.next;
        if (this.#first === null) this.#last = null;
        item.next = null;
        this.#running++;
        this.#start(item);
      }
    } finally {
      this.#pumping = false;
    }
  }

  /** A running item has come to rest: its lane is free, its key is not. `pump` follows. */
  leave(): void {
    this.#running--;
  }

  /** Back on a lane, though none be free: others wait for it to come to its end. */
  back(): void {
    this.#running++;
  }

  /** The item is done with: the next of its key gets its turn. `pump` follows. */
  end(item: Item): void {
    if (item.key === null) return;
    const next = item.behind;
    if (next === null) {
      item.keys.delete(item.key);
    } else {
      next.last = item.last;
      item.behind = null;
      item.keys.set(item.key, next);
      this.#push(next);
    }
    item.last = null;
  }

  /** Takes out all that wait behind the head of a key, in their order. */
  takeBehind(head: Item): Item[] {
    const taken: Item[] = [];
    for (let item = head.behind; item !== null; item = item.behind) taken.push(item);
    for (const item of taken) item.behind = null;
    head.behind = null;
    head.last = head;
    return taken;
  }

  /** Takes out all waiting items that are `gone`, behind heads and in the ready queue, and gives the latter. */
  purge(keys: ReadonlyMap<string, Item>, gone: (item: Item) => boolean): Item[] {
    for (const head of keys.values()) {
      const behind = this.takeBehind(head);
      for (const item of behind) {
        if (gone(item)) continue;
        head.last!.behind = item;
        head.last = item;
      }
    }
    const dropped: Item[] = [];
    const ready: Item[] = [];
    for (let item = this.#first; item !== null; item = item.next) (gone(item) ? dropped : ready).push(item);
    this.#first = this.#last = null;
    for (const item of ready) this.#push(item);
    for (const item of dropped) item.next = null;
    return dropped;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.pump();
  }

  #push(item: Item): void {
    item.next = null;
    if (this.#last === null) this.#first = item;
    else this.#last.next = item;
    this.#last = item;
  }
}
