import { type InboxKey, type StoreHost, TallyError, type Timer } from "@tallymq/core/spi";
import type { TxHandle } from "./handle.ts";

/** A handler that keeps the others waiting for so long with anything but its `tx` is surfaced. */
const SLOW_MS = 50;

interface Watched {
  readonly tx: Pick<TxHandle, "idleMs">;
  readonly topic: string;
  readonly id: string;
  readonly over: (error: TallyError) => void;
  slow: boolean;
}

/** Handlers at their turns that do nothing with their `tx`. One timer looks after all: one for each would be a good part of what a turn costs. */
export class TurnWatch {
  readonly #host: StoreHost;
  readonly #timeoutMs: number;
  readonly #watched: Set<Watched> = new Set();
  #timer: Timer | null = null;
  #dueAt = 0;

  constructor(host: StoreHost, timeoutMs: number) {
    this.#host = host;
    this.#timeoutMs = timeoutMs;
  }

  /**
   * @param over Called at most once, when it has done nothing for too long.
   * @returns what ends the watching.
   */
  enter(tx: Watched["tx"], { topic, id }: InboxKey, over: (error: TallyError) => void): () => void {
    const watched: Watched = { tx, topic, id, over, slow: false };
    this.#watched.add(watched);
    if (this.#timer === null || this.#host.clock.now() + SLOW_MS < this.#dueAt) this.#arm(SLOW_MS);
    return () => this.#leave(watched);
  }

  /** The store closes: nobody waits for these any more, and nothing of theirs will be written. */
  close(error: TallyError): void {
    for (const watched of [...this.#watched]) {
      this.#leave(watched);
      watched.over(error);
    }
  }

  #leave(watched: Watched): void {
    this.#watched.delete(watched);
    if (this.#watched.size > 0) return;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #arm(ms: number): void {
    this.#timer?.cancel();
    this.#dueAt = this.#host.clock.now() + Math.max(1, ms);
    this.#timer = this.#host.clock.after(Math.max(1, ms), () => this.#look());
  }

  #look(): void {
    this.#timer = null;
    let next = Number.POSITIVE_INFINITY;
    for (const watched of [...this.#watched]) {
      const idle = watched.tx.idleMs();
      if (idle >= this.#timeoutMs) {
        this.#leave(watched);
        watched.over(this.#tooLong(watched));
        continue;
      }
      if (idle >= SLOW_MS && !watched.slow) {
        watched.slow = true;
        this.#host.surfaced(
          `a tx handler of ${JSON.stringify(watched.topic)} waited ${SLOW_MS} ms for something other than its tx, while others wait for their turn`,
        );
      }
      next = Math.min(next, (watched.slow ? this.#timeoutMs : SLOW_MS) - idle);
    }
    if (this.#watched.size > 0) this.#arm(next);
  }

  #tooLong({ topic, id }: Watched): TallyError {
    return new TallyError(
      "handler-deadline",
      `the handler of ${JSON.stringify(topic)} did nothing with its tx for ${this.#timeoutMs} ms and was rolled back: others wait for their turn`,
      { id, retryable: true },
    );
  }
}
