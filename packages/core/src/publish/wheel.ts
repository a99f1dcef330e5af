import type { Clock, Timer } from "../clock.ts";

/** What the wheel turns: intrusive links, so that arming and disarming a message allocates nothing. */
export interface Timed {
  /** Monotonic milliseconds; the wheel's while armed. */
  due: number;
  prev: Timed | null;
  nextTimed: Timed | null;
}

const SLOTS = 512;

/**
 * A hashed timing wheel (Varghese and Lauck, 1987): one timer for all messages, arm and disarm in constant time. A
 * promise for each message is affordable; a timer for each is not. Fires at most one tick late; what lies beyond one turn
 * stays in its slot and is looked at once a turn.
 */
export class TimingWheel<T extends Timed> {
  readonly #clock: Clock;
  readonly #tick: number;
  readonly #fire: (item: T) => void;
  /** Heads of circular lists; each is its own neighbour while its slot is empty. */
  readonly #slots: Timed[] = [];
  /** What this turn fires. */
  readonly #firing: Timed = newHead();
  #armed = 0;
  #timer: Timer | null = null;
  #wakeAt = Number.POSITIVE_INFINITY;
  /** The first tick that has not been looked at. */
  #cursor: number;

  /** @param tick Milliseconds between two looks. */
  constructor(clock: Clock, tick: number, fire: (item: T) => void) {
    this.#clock = clock;
    this.#tick = tick;
    this.#fire = fire;
    this.#cursor = Math.floor(clock.now() / tick);
    for (let i = 0; i < SLOTS; i++) this.#slots.push(newHead());
  }

  get size(): number {
    return this.#armed;
  }

  /** Arms `item` for `due`, in place of what it was armed for. */
  arm(item: T, due: number): void {
    if (item.prev !== null) this.#unlink(item);
    // Rounded up, and never into a tick that has been looked at: nothing fires early, nothing waits for a whole turn.
    const at = Math.max(Math.ceil(due / this.#tick), this.#cursor);
    item.due = due;
    this.#link(item, this.#slot(at));
    if (at * this.#tick < this.#wakeAt) this.#wake(at * this.#tick);
  }

  disarm(item: T): void {
    if (item.prev !== null) this.#unlink(item);
  }

  /** All that is armed, in no order; a copy. */
  items(): T[] {
    const found: T[] = [];
    for (const head of this.#slots)
      for (let item = head.nextTimed; item !== null && item !== head; item = item.nextTimed) found.push(item as T);
    return found;
  }

  /** Lets go of the timer; armed items never fire. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
    this.#wakeAt = Number.NEGATIVE_INFINITY;
  }

  #slot(at: number): Timed {
    const head = this.#slots[at % SLOTS];
    if (head === undefined) throw new RangeError("the clock went out of range");
    return head;
  }

  #link(item: Timed, head: Timed): void {
    const last = head.prev ?? head;
    item.prev = last;
    item.nextTimed = head;
    last.nextTimed = item;
    head.prev = item;
    this.#armed++;
  }

  #unlink(item: Timed): void {
    if (item.prev !== null) item.prev.nextTimed = item.nextTimed;
    if (item.nextTimed !== null) item.nextTimed.prev = item.prev;
    item.prev = null;
    item.nextTimed = null;
    this.#armed--;
  }

  #wake(at: number): void {
    this.#timer?.cancel();
    this.#wakeAt = at;
    this.#timer = this.#clock.after(Math.max(1, Math.ceil(at - this.#clock.now())), () => this.#turn());
  }

  #turn(): void {
    const now = this.#clock.now();
    this.#timer = null;
    this.#wakeAt = Number.POSITIVE_INFINITY;
    const last = Math.floor(now / this.#tick);
    // After a long stall one turn sees every slot; more would see them twice.
    const first = Math.max(this.#cursor, last - SLOTS + 1);
    // Before anything fires: what `fire` arms anew lands in a tick that is still to come.
    this.#cursor = last + 1;
    // Taken out before anything fires: `fire` may disarm any of them, and arm others into the very slot.
    for (let at = first; at <= last; at++) {
      const head = this.#slot(at);
      for (let item = head.nextTimed; item !== null && item !== head;) {
        const following: Timed | null = item.nextTimed;
        if (item.due <= now) {
          this.#unlink(item);
          this.#link(item, this.#firing);
        }
        item = following;
      }
    }
    for (let item = this.#firing.nextTimed; item !== null && item !== this.#firing; item = this.#firing.nextTimed) {
      this.#unlink(item);
      this.#fire(item as T);
    }
    if (this.#armed > 0 && this.#timer === null) this.#wake(this.#nextBusy() * this.#tick);
    else if (this.#armed > 0) this.#wakeEarlier();
  }

  /** A timer armed by `fire` may lie after one that was there before. */
  #wakeEarlier(): void {
    const at = this.#nextBusy() * this.#tick;
    if (at < this.#wakeAt) this.#wake(at);
  }

  #nextBusy(): number {
    for (let at = this.#cursor; at < this.#cursor + SLOTS; at++) {
      const head = this.#slot(at);
      if (head.nextTimed !== head) return at;
    }
    return this.#cursor + SLOTS;
  }
}

function newHead(): Timed {
  const head: Timed = { due: 0, prev: null, nextTimed: null };
  head.prev = head;
  head.nextTimed = head;
  return head;
}
