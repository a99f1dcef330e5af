import type { Clock, Random, Timer } from "@tallymq/core/spi";

/** A clock that stands still until told otherwise. */
export interface VirtualClock extends Clock {
  /**
   * Moves time on by `ms`, running every timer that falls due on the way, in the order of due time (same time: in the
   * order they were set). After each timer one real turn of the event loop lets promises settle, so that a timer set by
   * what follows from an earlier one still runs in its place. Rejects with what a timer throws.
   * @param ms Milliseconds, 0 or more; 0 runs what is due now.
   */
  advance(ms: number): Promise<void>;
  /**
   * Moves from timer to timer until `predicate` is true; never past `limitMs` from now.
   * @throws Error when the limit is reached first: time then stands at the limit.
   */
  runUntil(predicate: () => boolean, limitMs: number): Promise<void>;
  /** Timers set and neither fired nor cancelled. */
  pending(): number;
  /** Lets the wall clock jump by `ms`, forwards or back; monotonic time and timers do not notice. */
  jumpWall(ms: number): void;
}

interface Entry {
  readonly due: number;
  readonly nth: number;
  /** Null once fired or cancelled: the entry is then dropped when it reaches the top. */
  fn: (() => void) | null;
}

const LONGEST = 2 ** 31 - 1;
// Taken now: a test may put fake timers into the global scope later.
const turn: (fn: () => void) => unknown = setImmediate;
const settled = (): Promise<void> => new Promise((resolve) => turn(resolve));

/**
 * A clock that stands still until it is told to go on: for `openTally`'s second argument.
 * @param options.wall Wall-clock milliseconds at the start. @default 2026-01-01T00:00:00Z
 */
export function virtualClock(options: { readonly wall?: number } = {}): VirtualClock {
  const heap: Entry[] = [];
  let wall = options.wall ?? 1_767_225_600_000;
  let now = 0;
  let nth = 0;
  let live = 0;

  /** The next timer to fire, if it is due by `limit`. */
  const next = (limit: number): Entry | null => {
    while (heap[0] !== undefined && heap[0].fn === null) pop(heap);
    const top = heap[0];
    return top !== undefined && top.due <= limit ? top : null;
  };
  const fire = (entry: Entry): void => {
    pop(heap);
    now = Math.max(now, entry.due);
    const fn = entry.fn;
    entry.fn = null;
    live -= 1;
    fn?.();
  };

  return {
    now: () => now,
    wall: () => wall + now,
    after(ms, fn): Timer {
      // What a real timer would shorten to 1 ms without a word is an error here.
      if (!(ms <= LONGEST)) throw new RangeError(`a timer of ${ms} ms: at most ${LONGEST}`);
      const entry: Entry = { due: now + Math.max(0, ms), nth: nth++, fn };
      push(heap, entry);
      live += 1;
      return {
        cancel() {
          if (entry.fn === null) return;
          entry.fn = null;
          live -= 1;
        },
      };
    },
    async advance(ms) {
      if (!(ms >= 0 && Number.isFinite(ms))) throw new RangeError(`time cannot move by ${ms} ms`);
      const target = now + ms;
      await settled();
      for (let entry = next(target); entry !== null; entry = next(target)) {
        fire(entry);
        await settled();
      }
      now = Math.max(now, target);
    },
    async runUntil(predicate, limitMs) {
      const limit = now + limitMs;
      await settled();
      while (!predicate()) {
        const entry = next(limit);
        if (entry === null) {
          now = Math.max(now, limit);
          throw new Error(`not reached within ${limitMs} ms of virtual time (${live} timers pending)`);
        }
        fire(entry);
        await settled();
      }
    },
    pending: () => live,
    jumpWall(ms) {
      wall += ms;
    },
  };
}

/** Deterministic randomness (xoshiro128**): the same seed gives the same values. Not for secrets. */
export function seededRandom(seed: number): Random {
  // splitmix32 spreads the seed over the state; a state of zeros would stay zero for ever, and it never gives one.
  let mix = seed | 0;
  const spread = (): number => {
    mix = (mix + 0x9e3779b9) | 0;
    let z = mix ^ (mix >>> 16);
    z = Math.imul(z, 0x21f0aaad);
    z = Math.imul(z ^ (z >>> 15), 0x735a2d97);
    return z ^ (z >>> 15);
  };
  let a = spread();
  let b = spread();
  let c = spread();
  let d = spread();
  const word = (): number => {
    const times5 = Math.imul(b, 5);
    const result = Math.imul((times5 << 7) | (times5 >>> 25), 9) >>> 0;
    const t = b << 9;
    c ^= a;
    d ^= b;
    b ^= c;
    a ^= d;
    c ^= t;
    d = (d << 11) | (d >>> 21);
    return result;
  };
  return {
    unit: () => word() / 2 ** 32,
    bytes(length) {
      const out = new Uint8Array(length);
      for (let at = 0; at < length; at += 4) {
        const value = word();
        for (let i = 0; i < 4 && at + i < length; i++) out[at + i] = value >>> (8 * i);
      }
      return out;
    },
  };
}

const before = (a: Entry, b: Entry): boolean => a.due < b.due || (a.due === b.due && a.nth < b.nth);

function push(heap: Entry[], entry: Entry): void {
  let at = heap.length;
  heap.push(entry);
  while (at > 0) {
    const up = (at - 1) >> 1;
    const parent = heap[up]!;
    if (before(parent, entry)) break;
    heap[at] = parent;
    at = up;
  }
  heap[at] = entry;
}

function pop(heap: Entry[]): void {
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return;
  let at = 0;
  for (;;) {
    let child = 2 * at + 1;
    if (child >= heap.length) break;
    if (child + 1 < heap.length && before(heap[child + 1]!, heap[child]!)) child += 1;
    if (before(last, heap[child]!)) break;
    heap[at] = heap[child]!;
    at = child;
  }
  heap[at] = last;
}
