import {
  type Clock,
  type Delivery,
  LONGEST_TIMER,
  type ReceiverEvents,
  Spoofs,
  type Subscription,
  type Timer,
} from "@tallymq/core/spi";
import { dueOf, incoming, ownHeaders } from "./codec.ts";
import type { Held } from "./leases.ts";

/** The only lane: whoever pops has no say in the queue. */
const LANE = 0;

/** Hands out what has come, within the credit and not before its time, and knows what is out. */
export class Handing {
  readonly #subscription: Subscription;
  readonly #events: ReceiverEvents;
  readonly #spoofs: Spoofs;
  readonly #clock: Clock;
  readonly #epoch: number;
  readonly #out: Set<Held> = new Set();
  #held: Held[] = [];
  #due = false;
  #timer: Timer | null = null;
  #paused = false;
  #stopped = false;

  constructor(subscription: Subscription, events: ReceiverEvents, clock: Clock, epoch: number) {
    this.#subscription = subscription;
    this.#events = events;
    this.#spoofs = new Spoofs(subscription, events);
    this.#clock = clock;
    this.#epoch = epoch;
  }

  /** How many more can be used. */
  get room(): number {
    return this.#paused ? 0 : this.#subscription.credit - this.#out.size - this.#held.length;
  }

  /** Held, or out. */
  get size(): number {
    return this.#out.size + this.#held.length;
  }

  /** What is out under this delivery; undefined: nothing any more, or in another session. */
  of(delivery: Delivery): Held | undefined {
    const held = delivery.token as Held;
    return delivery.epoch === this.#epoch && this.#out.has(held) ? held : undefined;
  }

  /** It is out no more. */
  settled(held: Held): void {
    this.#out.delete(held);
  }

  came(some: readonly Held[]): void {
    this.#held.push(...some);
    this.due();
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.due();
  }

  /** For good. Gives what was held and not handed out. */
  stop(): readonly Held[] {
    this.#stopped = true;
    this.#timer?.cancel();
    this.#timer = null;
    return this.#held.splice(0);
  }

  /** After `stop`: what is out is so no more. */
  takeOut(): readonly Held[] {
    const out = [...this.#out];
    this.#out.clear();
    return out;
  }

  /** What one tick settles and receives is handed out together: up to the credit, and what is due. */
  due(): void {
    if (this.#due) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      if (!this.#stopped && !this.#paused && this.#held.length > 0) this.#hand();
    });
  }

  #hand(): void {
    const wall = this.#clock.wall();
    const kept: Held[] = [];
    const taken: Held[] = [];
    let next = Infinity;
    const room = this.#subscription.credit - this.#out.size;
    // Those whose time came first go first; the others as they came.
    for (const held of this.#held.toSorted((a, b) => dueOf(a.message) - dueOf(b.message))) {
      const due = dueOf(held.message);
      if (due <= wall && taken.length < room) taken.push(held);
      else {
        kept.push(held);
        if (due > wall) next = Math.min(next, due);
      }
    }
    this.#held = kept;
    this.#timer?.cancel();
    // When it is due is the sender's word, which may be anything: one that no timer can wait for is looked at again.
    this.#timer =
      next === Infinity ? null : this.#clock.after(Math.min(Math.ceil(next - wall), LONGEST_TIMER), () => this.due());
    if (taken.length === 0) return;
    for (const held of taken) this.#out.add(held);
    this.#events.deliver(taken.map((held) => this.delivery(held)));
  }

  delivery(held: Held): Delivery {
    const { message } = held;
    this.#spoofs.look(ownHeaders(message));
    return {
      token: held,
      lane: LANE,
      epoch: this.#epoch,
      place: null,
      count: null,
      message: incoming(this.#subscription.topic.name, message),
    };
  }
}
