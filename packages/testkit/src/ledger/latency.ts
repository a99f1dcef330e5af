/** Milliseconds, each within 5 % of the true one; `n` is how many were seen. */
export interface Percentiles {
  readonly n: number;
  readonly p50: number;
  readonly p95: number;
  readonly p99: number;
  readonly max: number;
}

const STEPS = 16; // buckets for each doubling
const BUCKETS = 40 * STEPS; // up to 2^40 µs, twelve days

/** Counts durations in buckets that grow by 2^(1/16), so that memory does not grow with the run. */
export class Latency {
  readonly #counts: Float64Array = new Float64Array(BUCKETS);
  #n = 0;
  #max = 0;

  add(micros: number): void {
    if (!(micros >= 0)) return; // two hosts' clocks have no difference
    const bucket = micros < 1 ? 0 : Math.min(BUCKETS - 1, Math.floor(Math.log2(micros) * STEPS));
    this.#counts[bucket]! += 1;
    this.#n += 1;
    if (micros > this.#max) this.#max = micros;
  }

  percentiles(): Percentiles | null {
    if (this.#n === 0) return null;
    return { n: this.#n, p50: this.#at(0.5), p95: this.#at(0.95), p99: this.#at(0.99), max: this.#max / 1000 };
  }

  #at(share: number): number {
    let left = Math.ceil(this.#n * share);
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      left -= this.#counts[bucket]!;
      if (left <= 0) return Math.min(2 ** ((bucket + 0.5) / STEPS), this.#max) / 1000;
    }
    return this.#max / 1000;
  }
}
