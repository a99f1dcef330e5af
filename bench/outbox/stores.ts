import type { OutboxSpec, OutboxStore } from "@tallymq/core/spi";
import { sqlite } from "@tallymq/store-sqlite";

export interface WatchedOutbox {
  readonly spec: OutboxSpec;
  /** Rows that wait or are on their way. */
  rows(): Promise<number>;
  /** Resolves when no more than `most` rows are left; looks every few milliseconds. @throws when that takes longer than `withinMs`. */
  atMost(most: number, withinMs: number): Promise<void>;
}

/** An outbox file whose rows can be counted while a tally has it. */
export function watchedOutbox(path: string): WatchedOutbox {
  let store: OutboxStore | null = null;
  const rows = async (): Promise<number> => {
    if (store === null) throw new Error("the outbox is not open");
    const { rows: waiting, parked } = await store.stats();
    return waiting + parked;
  };
  return {
    rows,
    spec: {
      async openOutbox(host) {
        return (store = await sqlite(path, { maxBytes: 64 * 1024 ** 3 }).openOutbox(host));
      },
    },
    async atMost(most, withinMs) {
      const until = performance.now() + withinMs;
      for (let left = await rows(); left > most; left = await rows()) {
        if (performance.now() > until) throw new Error(`${left} rows are still in the outbox after ${withinMs} ms`);
        await sleep(10);
      }
    },
  };
}

export const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));
