import type { Clock, Timer } from "@tallymq/core/spi";
import { type InMessage, type Link, OK, StatusError } from "./driver/driver.ts";

/** A message that is ours for as long as its lease lasts. */
export interface Held {
  readonly message: InMessage;
  /** The one that counts: each renewal brings another. */
  handle: string;
  /** Monotonic: since when it has been invisible. */
  since: number;
  /** A change that is under way; never rejects. */
  changing: Promise<unknown> | null;
}

/** Renews what is held at half of its invisible time. One timer for all of them. */
export class Leases {
  readonly #clock: Clock;
  readonly #group: string;
  readonly #invisible: number;
  readonly #link: () => Link | null;
  readonly #held: Set<Held> = new Set();
  #timer: Timer | null = null;
  #stopped = false;

  constructor(clock: Clock, group: string, invisible: number, link: () => Link | null) {
    this.#clock = clock;
    this.#group = group;
    this.#invisible = invisible;
    this.#link = link;
  }

  get all(): Iterable<Held> {
    return this.#held;
  }

  add(held: Held): void {
    this.#held.add(held);
  }

  drop(held: Held): void {
    this.#held.delete(held);
  }

  start(): void {
    if (this.#stopped) return;
    this.#timer = this.#clock.after(this.#invisible / 8, () => {
      const now = this.#clock.now();
      for (const held of this.#held)
        if (held.changing === null && now - held.since >= this.#invisible / 2)
          // One that fails is tried again at the next turn; its ack will tell.
          void this.change(held, this.#invisible);
      this.start();
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = null;
  }

  /** Invisible for so long from now. One change of a message at a time; null: it took, else why not. */
  change(held: Held, ms: number): Promise<unknown> {
    const before = held.changing ?? Promise.resolve();
    const changing = before.then(() => this.#change(held, ms));
    held.changing = changing;
    void changing.then(() => {
      if (held.changing === changing) held.changing = null;
    });
    return changing;
  }

  async #change(held: Held, ms: number): Promise<unknown> {
    const link = this.#link();
    if (link === null) return new Error("there is no connection");
    const asked = this.#clock.now();
    try {
      const { messageId, topic } = held.message;
      const { status, handle } = await link.invisible(this.#group, topic, { messageId, handle: held.handle }, ms);
      if (status.code !== OK) return new StatusError(status);
      if (handle !== "") held.handle = handle;
      held.since = asked;
      return null;
    } catch (thrown) {
      return thrown;
    }
  }
}
