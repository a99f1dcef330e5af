import { type Clock, type MembersPort, sleep } from "@tallymq/core/spi";
import type { KafkaAdmin } from "./admin.ts";

/** While a group rebalances it is asked again after so many milliseconds. */
const LOOK_MS = 100;
/** After a look that failed, in milliseconds. */
const AGAIN_MS = 1_000;
/** Longest card that is handed on, in characters: others may show anything. */
const LONGEST = 1_000;

interface Seat {
  readonly card: string;
  readonly seen: (card: string) => void;
}

/**
 * Members of a group, as they show themselves to each other. A member's card is part of its subscription, which everybody
 * may read who may consume; whoever comes makes the group rebalance, and then all who are there look at it again.
 */
export class KafkaMembers implements MembersPort {
  readonly #admin: KafkaAdmin;
  readonly #clock: Clock;
  readonly #groupOf: (topic: string, group: string) => string;
  /** By the group's name on the broker. */
  readonly #seats: Map<string, Set<Seat>> = new Map();
  /** Groups that are being looked at; true: they have rebalanced since. */
  readonly #looking: Map<string, boolean> = new Map();
  readonly #closed: AbortController = new AbortController();

  constructor(admin: KafkaAdmin, clock: Clock, groupOf: (topic: string, group: string) => string) {
    this.#admin = admin;
    this.#clock = clock;
    this.#groupOf = groupOf;
  }

  async join(
    topic: string,
    group: string,
    card: string,
    seen: (card: string) => void,
    signal: AbortSignal,
  ): Promise<AsyncDisposable> {
    const name = this.#groupOf(topic, group);
    const seats = this.#seats.get(name) ?? new Set();
    this.#seats.set(name, seats);
    const seat: Seat = { card, seen };
    seats.add(seat);
    const leave = (): Promise<void> => {
      seats.delete(seat);
      if (seats.size === 0 && this.#seats.get(name) === seats) this.#seats.delete(name);
      return Promise.resolve();
    };
    try {
      await this.#look(name, signal);
    } catch (thrown) {
      await leave();
      throw thrown;
    }
    return { [Symbol.asyncDispose]: leave };
  }

  /** What the next member of the group that joins from here shows; null: nothing. */
  cardOf(topic: string, group: string): string | null {
    return [...(this.#seats.get(this.#groupOf(topic, group)) ?? [])].at(-1)?.card ?? null;
  }

  /** The group has rebalanced: somebody may have come. */
  changed(topic: string, group: string): void {
    const name = this.#groupOf(topic, group);
    if (this.#looking.has(name)) this.#looking.set(name, true);
    else if (this.#seats.has(name)) void this.#lookUntilSeen(name).catch(() => {});
  }

  close(): void {
    this.#closed.abort();
  }

  async #lookUntilSeen(group: string): Promise<void> {
    const { signal } = this.#closed;
    try {
      do {
        this.#looking.set(group, false);
        await this.#look(group, signal).catch(async (thrown: unknown) => {
          signal.throwIfAborted();
          // The one who came does not come again: this is how it would stay unseen. Its session knows what is wrong.
          this.#looking.set(group, true);
          await sleep(this.#clock, AGAIN_MS, signal);
          return thrown;
        });
      } while (this.#looking.get(group) === true && this.#seats.has(group));
    } finally {
      this.#looking.delete(group);
    }
  }

  async #look(group: string, signal: AbortSignal): Promise<void> {
    for (;;) {
      const what = `group ${JSON.stringify(group)}`;
      const { settled, cards } = await this.#admin.on(signal, what, (admin) => admin.members(group));
      if (settled) return this.#show(group, cards);
      await sleep(this.#clock, LOOK_MS, signal);
    }
  }

  #show(group: string, cards: readonly string[]): void {
    for (const { card: own, seen } of [...(this.#seats.get(group) ?? [])])
      for (const card of cards) if (card !== own) seen(card.slice(0, LONGEST));
  }
}
