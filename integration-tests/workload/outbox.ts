import { sqlite } from "@tallymq/store-sqlite";
import type { OutboxStore } from "@tallymq/core/spi";
import type { Remaining } from "@tallymq/testkit/ledger";
import { host } from "./host.ts";

/** What waits in an outbox that others fill and empty. */
export class OutboxView implements AsyncDisposable {
  readonly #store: OutboxStore;

  readonly #close: () => PromiseLike<void> | void;

  private constructor(store: OutboxStore, close: () => PromiseLike<void> | void) {
    this.#store = store;
    this.#close = close;
  }

  static async open(path: string): Promise<OutboxView> {
    return new OutboxView(await sqlite(path).openOutbox(host), () => {});
  }

  /** Of the rows that handlers published in an inbox's transactions. */
  static async ofInbox(path: string): Promise<OutboxView> {
    const inbox = await sqlite(path).openInbox(host);
    return new OutboxView(inbox.transactions!.outbox, () => inbox[Symbol.asyncDispose]());
  }

  /** Parked ones too: nobody but a person gets rid of these. */
  async rows(): Promise<number> {
    const { rows, parked } = await this.#store.stats();
    return rows + parked;
  }

  async remaining(name = "outbox"): Promise<Remaining> {
    return { where: "outbox", name, n: await this.rows() };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#store[Symbol.asyncDispose]();
    await this.#close();
  }
}
