import { TallyError, raced } from "@tallymq/core/spi";
import { type ConnectionPlan, RabbitConnection } from "./connection.ts";
import { dial, shuffled } from "./dial.ts";
import type { Endpoint } from "./endpoint.ts";

interface Opening {
  readonly promise: Promise<RabbitConnection>;
  readonly abort: AbortController;
  waiters: number;
}

/** One connection for many sessions: opened when the first one asks, and again when it is gone and the next one asks. */
export class SharedConnection {
  readonly #plan: ConnectionPlan;
  #current: RabbitConnection | null = null;
  #opening: Opening | null = null;
  /** Did not open when last dialled, or was lost: dialled after all others. */
  readonly #last: Set<Endpoint> = new Set();
  #closed = false;

  constructor(plan: ConnectionPlan) {
    this.#plan = plan;
  }

  /** The connection that is open now, or null. */
  get open(): RabbitConnection | null {
    return this.#current === null || this.#current.over ? null : this.#current;
  }

  /** The open connection, or one try at all URLs, shared by all who ask meanwhile. */
  async get(signal: AbortSignal): Promise<RabbitConnection> {
    if (this.#closed) throw new TallyError("closed", "the transport is closed");
    if (this.open !== null) return this.open;
    const opening = (this.#opening ??= this.#begin());
    opening.waiters++;
    try {
      return await raced(opening.promise, signal);
    } finally {
      // A try that nobody waits for any more ends; what it still brings is destroyed in #begin.
      if (--opening.waiters === 0 && this.#opening === opening) {
        // Who asks from now on begins a try of its own, instead of hearing of this one's end.
        this.#opening = null;
        opening.abort.abort(signal.reason);
      }
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#opening?.abort.abort(new TallyError("closed", "the transport is closed"));
    await this.#current?.close();
  }

  #begin(): Opening {
    const abort = new AbortController();
    const { urls, clock, random, connectTimeout } = this.#plan;
    if (this.#current !== null) this.#last.add(this.#current.endpoint);
    const promise = dial(
      shuffled(urls, this.#last, random),
      {
        clock,
        within: connectTimeout,
        open: (endpoint, signal) => RabbitConnection.open(endpoint, this.#plan, signal),
        unwanted: (connection) => connection.destroy(),
        failed: (endpoint) => void this.#last.add(endpoint),
      },
      abort.signal,
    )
      .then((connection) => {
        this.#last.delete(connection.endpoint);
        // The old one may still hold a socket that a silent broker keeps half-closed.
        this.#current?.destroy();
        this.#current = connection;
        if (this.#closed) connection.destroy();
        return connection;
      })
      .finally(() => {
        if (this.#opening === opening) this.#opening = null;
      });
    const opening: Opening = { promise, abort, waiters: 0 };
    return opening;
  }
}
