/** Rows at some moment of the monotonic clock. */
interface Sample {
  readonly at: number;
  readonly rows: number;
}

/**
 * Whether a store has only got more rows for a while. There is no timer: whoever asks takes a sample, as a probe does
 * every few seconds.
 */
export class Growth {
  /** Of those since the rows last became fewer, none of which has fewer than the one before. */
  #first: Sample | null = null;
  #last = 0;

  /** Since when the rows have only become more, in milliseconds, and how many that was; null: they have not. */
  look(now: number, rows: number): { readonly forMs: number; readonly by: number } | null {
    if (this.#first === null || rows < this.#last) this.#first = { at: now, rows };
    this.#last = rows;
    const { at, rows: before } = this.#first;
    return rows <= before ? null : { forMs: now - at, by: rows - before };
  }
}
