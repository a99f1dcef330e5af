/** Rows at some moment of the monotonic clock. */
interface Sample {
  readonly at: number;
  readonly rows: number;
}

/** At most so many looks back, however often somebody asks. */
const MOST = 64;

/**
 * Whether a store has only got more rows for a while. There is no timer: whoever asks takes a sample, as a probe does
 * every few seconds.
 */
export class Growth {
  /** Since the rows last became fewer, none of them fewer than the one before. */
  #samples: Sample[] = [];

  /** Since when the rows have only become more, in milliseconds, and how many that was; null: they have not. */
  look(now: number, rows: number): { readonly forMs: number; readonly by: number } | null {
    const last = this.#samples.at(-1);
    if (last !== undefined && rows < last.rows) this.#samples = [];
    // The first is kept as it is; of the others every second one goes when there are too many.
    if (this.#samples.length >= MOST) this.#samples = this.#samples.filter((_, i) => i % 2 === 0);
    this.#samples.push({ at: now, rows });
    const first = this.#samples[0];
    return first === undefined || rows <= first.rows ? null : { forMs: now - first.at, by: rows - first.rows };
  }
}
