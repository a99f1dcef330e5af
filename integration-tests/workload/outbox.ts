import { sqlite } from "@tallymq/store-sqlite";
import type { OutboxStore, StoreHost } from "@tallymq/core/spi";
import type { Remaining } from "@tallymq/testkit/ledger";

const host: StoreHost = {
  clock: {
    now: () => performance.now(),
    wall: () => Date.now(),
    after(ms, fn) {
      const timer = setTimeout(fn, ms);
      return { cancel: () => clearTimeout(timer) };
    },
  },
  random: { unit: () => Math.random(), bytes: (length) => crypto.getRandomValues(new Uint8Array(length)) },
  surfaced: () => {},
};

/** What waits in an outbox that others fill and empty. */
export class OutboxView implements AsyncDisposable {
  readonly #store: OutboxStore;

  private constructor(store: OutboxStore) {
    this.#store = store;
  }

  static async open(path: string): Promise<OutboxView> {
    return new OutboxView(await sqlite(path).openOutbox(host));
  }

  /** Parked ones too: nobody but a person gets rid of these. */
  async rows(): Promise<number> {
    const { rows, parked } = await this.#store.stats();
    return rows + parked;
  }

  async remaining(): Promise<Remaining> {
    return { where: "outbox", name: "outbox", n: await this.rows() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#store[Symbol.asyncDispose]();
  }
}
