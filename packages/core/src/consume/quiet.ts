/** Who waits for something to come to rest, and is told by `look` that something has. */
export class Quiet {
  readonly #watchers: Set<() => void> = new Set();

  /** Resolves when `holds`, at once if it does. */
  once(holds: () => boolean): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (!holds()) return;
        this.#watchers.delete(look);
        resolve();
      };
      this.#watchers.add(look);
      look();
    });
  }

  look(): void {
    if (this.#watchers.size > 0) for (const look of this.#watchers) look();
  }
}
