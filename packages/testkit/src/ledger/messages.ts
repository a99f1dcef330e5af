/** Facts about one id, as bits: a million ids then cost their names and some 40 bytes each. */
export const INVOKED = 1;
export const ACCEPTED = 2;
export const CONFIRMED = 4;
export const DELIVERED = 8;
export const DEAD = 16;
export const CONFLICT = 32;
export const CORRUPT = 64;
export const SEEN_BY_TWO = 128;
export const LEFT_IN_OUTBOX = 256;
export const LEFT_IN_QUEUE = 512;

/** No time, no process, no hash yet. */
export const NONE = -1;

/** What is known of each id, in columns. The same id published again, by whichever process, is the same row. */
export class Messages {
  readonly #rows: Map<string, number> = new Map();
  facts: Uint16Array = new Uint16Array(0);
  invokes: Uint16Array = new Uint16Array(0);
  /** Invocations that ended in a definite rejection. */
  rejections: Uint16Array = new Uint16Array(0);
  effects: Uint32Array = new Uint32Array(0);
  deadLetters: Uint16Array = new Uint16Array(0);
  deliveries: Uint32Array = new Uint32Array(0);
  /** The file that delivered it last, and the one that invoked it last. */
  deliverer: Int32Array = new Int32Array(0);
  invoker: Int32Array = new Int32Array(0);
  invokedAt: Float64Array = new Float64Array(0);
  firstInvokedAt: Float64Array = new Float64Array(0);
  effectAt: Float64Array = new Float64Array(0);
  /** Fingerprint of the invoked body's hash. */
  body: Float64Array = new Float64Array(0);

  get size(): number {
    return this.#rows.size;
  }

  row(id: string): number {
    const known = this.#rows.get(id);
    if (known !== undefined) return known;
    const row = this.#rows.size;
    if (row === this.facts.length) this.#grow();
    this.#rows.set(id, row);
    return row;
  }

  entries(): IterableIterator<[id: string, row: number]> {
    return this.#rows.entries();
  }

  #grow(): void {
    const size = Math.max(1024, this.facts.length * 2);
    this.facts = into(new Uint16Array(size), this.facts);
    this.invokes = into(new Uint16Array(size), this.invokes);
    this.rejections = into(new Uint16Array(size), this.rejections);
    this.effects = into(new Uint32Array(size), this.effects);
    this.deadLetters = into(new Uint16Array(size), this.deadLetters);
    this.deliveries = into(new Uint32Array(size), this.deliveries);
    this.deliverer = into(new Int32Array(size).fill(NONE), this.deliverer);
    this.invoker = into(new Int32Array(size).fill(NONE), this.invoker);
    this.invokedAt = into(new Float64Array(size).fill(NONE), this.invokedAt);
    this.firstInvokedAt = into(new Float64Array(size).fill(NONE), this.firstInvokedAt);
    this.effectAt = into(new Float64Array(size).fill(NONE), this.effectAt);
    this.body = into(new Float64Array(size).fill(NONE), this.body);
  }
}

function into<T extends { set(from: T): void }>(to: T, from: T): T {
  to.set(from);
  return to;
}

/** 53 bits of a text: enough to see that two hashes differ, and a number a row instead of a string. */
export function fingerprint(text: string): number {
  let a = 0xdeadbeef;
  let b = 0x41c6ce57;
  for (let at = 0; at < text.length; at++) {
    const unit = text.charCodeAt(at);
    a = Math.imul(a ^ unit, 0x9e3779b1);
    b = Math.imul(b ^ unit, 0x5f356495);
  }
  a = Math.imul(a ^ (a >>> 16), 0x85ebca6b) ^ Math.imul(b ^ (b >>> 13), 0xc2b2ae35);
  b = Math.imul(b ^ (b >>> 16), 0x85ebca6b) ^ Math.imul(a ^ (a >>> 13), 0xc2b2ae35);
  return 4294967296 * (b & 0x1fffff) + (a >>> 0);
}
