import { TallyError } from "../error.ts";

/**
 * The sessions of one transport that have not ended. A transport outlives its sessions, reconnect by reconnect: what has ended
 * is let go of, and what is still open when the transport closes is ended with it.
 */
export class OpenSessions<S extends AsyncDisposable = AsyncDisposable> implements AsyncDisposable, Iterable<S> {
  readonly #open: Set<S> = new Set();
  #closed = false;

  /** Nothing of it is left at the broker, whoever ended it. Idempotent. */
  readonly ended = (session: S): void => void this.#open.delete(session);

  /** @throws TallyError `closed` */
  throwIfClosed(): void {
    if (this.#closed) throw new TallyError("closed", "the transport is closed");
  }

  /** Before it is handed out. @throws TallyError `closed`: it has opened while the transport closed, and is ended */
  add<T extends S>(session: T): T {
    if (this.#closed) void Promise.allSettled([session[Symbol.asyncDispose]()]);
    this.throwIfClosed();
    this.#open.add(session);
    return session;
  }

  [Symbol.iterator](): IterableIterator<S> {
    return this.#open.values();
  }

  /** Takes no more, and ends those that are open. Resolves when all of them have, well or badly. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await Promise.allSettled([...this.#open].map((session) => session[Symbol.asyncDispose]()));
  }
}
