/** Counts deliveries, and says when so many more have come. */
export class Arrivals {
  #come = 0;
  #awaited = Infinity;
  #reached: () => void = () => {};

  /** Nothing has been waited for yet. */
  get first(): boolean {
    return this.#awaited === Infinity;
  }

  one(): void {
    if (++this.#come === this.#awaited) this.#reached();
  }

  /** Counted from where the last call ended, also what has come since. */
  async more(messages: number): Promise<number> {
    this.#awaited = (this.first ? 0 : this.#awaited) + messages;
    if (this.#come < this.#awaited) {
      await new Promise<void>((resolve) => {
        this.#reached = resolve;
      });
    }
    return messages;
  }
}
