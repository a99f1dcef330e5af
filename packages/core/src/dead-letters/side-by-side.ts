/** Runs pieces of work side by side, `limit` at most, and those of a key one after another, in the order of the calls. */
export class SideBySide {
  readonly #limit: number;
  readonly #open: Set<Promise<void>> = new Set();
  /** The newest of each key. */
  readonly #last: Map<string, Promise<void>> = new Map();
  #failed: { readonly thrown: unknown } | null = null;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Resolves when there was room for it. @throws what an earlier piece threw: nothing begins after that */
  async begin(key: string | null, work: () => Promise<void>): Promise<void> {
    while (this.#open.size >= this.#limit) await Promise.race(this.#open);
    this.#throw();
    const before = (key === null ? null : this.#last.get(key)) ?? Promise.resolve();
    const mine = before
      .then(() => (this.#failed === null ? work() : undefined))
      .catch((thrown: unknown) => {
        this.#failed ??= { thrown };
      })
      .then(() => {
        this.#open.delete(mine);
        if (key !== null && this.#last.get(key) === mine) this.#last.delete(key);
      });
    this.#open.add(mine);
    if (key !== null) this.#last.set(key, mine);
  }

  /** Resolves when everything that began is over. @throws what a piece threw */
  async over(): Promise<void> {
    await Promise.all(this.#open);
    this.#throw();
  }

  #throw(): void {
    if (this.#failed !== null) throw this.#failed.thrown;
  }
}
