import { type Link, OK, StatusError } from "./driver/driver.ts";
import type { Held, Leases } from "./leases.ts";
import type { Standing } from "./standing.ts";

/** A handler that is done acks in the same tick as its neighbours: one request has them all, up to so many. */
const MOST_ACKS = 64;

export interface SettlingOptions {
  /** On the broker. */
  readonly group: string;
  readonly leases: Leases;
  readonly standing: Standing;
  link(): Link;
  /** These come again. */
  failed(some: readonly Held[], why: unknown): void;
}

/** Tells the broker what is done, and what is to come again; nothing is repeated. */
export class Settling {
  readonly #o: SettlingOptions;
  readonly #running: Set<Promise<void>> = new Set();
  #acks: Held[] = [];
  #due = false;
  #stopped = false;

  constructor(options: SettlingOptions) {
    this.#o = options;
  }

  ack(held: Held): void {
    this.#acks.push(held);
    if (this.#due) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      this.flush();
    });
  }

  /** Visible again after so many milliseconds. */
  release(held: Held, afterMs: number): void {
    this.#run(this.#release(held, afterMs));
  }

  /** Of sessions that were lost: visible again, whatever the broker says. */
  giveUp(link: Link, orphan: { readonly topic: string; readonly messageId: string; readonly handle: string }): void {
    const { topic, messageId, handle } = orphan;
    this.#run(link.invisible(this.#o.group, topic, { messageId, handle }, 1).then(() => {}));
  }

  /** Resolves when all of it is answered. */
  async idle(): Promise<void> {
    while (this.#running.size > 0) await Promise.allSettled(this.#running);
  }

  /** The connection is gone: nothing goes out any more, and of what is out nobody is told. */
  stop(): void {
    this.#stopped = true;
  }

  /** Acks go out with their tick, or now. */
  flush(): void {
    if (this.#stopped) return;
    const acks = this.#acks.splice(0);
    for (const [topic, some] of Map.groupBy(acks, ({ message }) => message.topic))
      for (let at = 0; at < some.length; at += MOST_ACKS) this.#run(this.#ack(topic, some.slice(at, at + MOST_ACKS)));
  }

  async #ack(topic: string, some: readonly Held[]): Promise<void> {
    const { group, leases, standing, link } = this.#o;
    // An ack of a handle that is being renewed would be one of a handle that counts no more.
    await Promise.all(some.map(async ({ changing }) => await changing));
    // Nor is one renewed while its ack is out: the broker would answer OK, and deliver the message once more.
    const { promise: answered, resolve } = Promise.withResolvers<void>();
    for (const held of some) held.changing = answered;
    const failed: Held[] = [];
    let why: unknown = null;
    try {
      const entries = some.map(({ message, handle }) => ({ messageId: message.messageId, handle }));
      const answer = await link().ack(group, topic, entries);
      for (const held of some) {
        const status = answer.entries.get(held.handle) ?? answer.status;
        if (status.code === OK) continue;
        failed.push(held);
        why = new StatusError(status);
      }
    } catch (thrown) {
      failed.push(...some);
      why = thrown;
    }
    resolve();
    for (const held of some) {
      leases.drop(held);
      if (failed.includes(held)) standing.released(held.message);
      else standing.done(held.message);
    }
    if (failed.length > 0 && !this.#stopped) this.#o.failed(failed, why);
  }

  async #release(held: Held, afterMs: number): Promise<void> {
    const { leases, standing } = this.#o;
    const why = await leases.change(held, Math.max(1, Math.ceil(afterMs)));
    leases.drop(held);
    standing.released(held.message);
    if (why !== null && !this.#stopped) this.#o.failed([held], why);
  }

  #run(work: Promise<void>): void {
    const done = work.catch(() => {}).finally(() => this.#running.delete(done));
    this.#running.add(done);
  }
}
