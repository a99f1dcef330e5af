import { type Delivery, type ReceiverEvents, Spoofs, type Subscription } from "@tallymq/core/spi";
import { incoming, ownHeaders } from "./codec.ts";
import type { DriverConsumer, ReceivedRecord } from "./driver/driver.ts";
import type { Lane } from "./lane.ts";

/** Of one step of what is delayed, out at the same time. A step whose messages have days left must not use up all credit. */
export const OF_EACH = 100;

/** Hands out what lanes hold, within the credit, and keeps the broker from sending more of what waits here already. */
export class Handing {
  readonly #subscription: Subscription;
  readonly #events: ReceiverEvents;
  readonly #spoofs: Spoofs;
  readonly #consumer: () => DriverConsumer | null;
  readonly #forwarding: boolean;
  readonly #readAhead: number;
  /** Lanes take turns. */
  #turn: Lane[] = [];
  #open = 0;
  #due = false;
  #held = true;
  #stopped = false;

  /** @param forwarding See `ReceiverOptions`. @param readAhead as well */
  constructor(
    subscription: Subscription,
    events: ReceiverEvents,
    consumer: () => DriverConsumer | null,
    forwarding: boolean,
    readAhead: number,
  ) {
    this.#subscription = subscription;
    this.#forwarding = forwarding;
    this.#readAhead = readAhead;
    this.#events = events;
    this.#spoofs = new Spoofs(subscription, events);
    this.#consumer = consumer;
  }

  /** From a join until it is known where the group is, nothing is handed out. */
  hold(): void {
    this.#held = true;
  }

  resume(lanes: Iterable<Lane>): void {
    this.#turn = [...lanes];
    this.#held = false;
    this.due();
  }

  /** Its messages are others now. */
  replace(lane: Lane, by: Lane): void {
    this.#turn = this.#turn.map((one) => (one === lane ? by : one));
  }

  /** For good. */
  stop(): void {
    this.#stopped = true;
  }

  /** So many are not out any more. */
  closed(count: number): void {
    this.#open -= count;
  }

  /** What one tick settles and fetches is handed out together. */
  due(): void {
    if (this.#due) return;
    this.#due = true;
    queueMicrotask(() => {
      this.#due = false;
      if (this.#stopped || this.#held) return;
      const batch = this.#take(this.#subscription.credit - this.#open);
      if (batch.length === 0) return;
      this.#open += batch.length;
      this.#events.deliver(batch);
    });
  }

  /**
   * A fetch brings what it brings; no other is asked for while this much waits here. Each lane has a share of the bytes for
   * itself: one that stands still must not keep the others from being fetched.
   */
  brake(lane: Lane): void {
    const most = this.#forwarding ? OF_EACH : this.#subscription.credit;
    const share = this.#readAhead / Math.max(1, this.#turn.length);
    if (!lane.full && (lane.held >= most || lane.heldBytes >= share)) {
      lane.full = true;
      this.#consumer()?.pause(lane.topic, lane.partition);
    } else if (lane.full && lane.held < most / 2 && lane.heldBytes < share / 2) {
      lane.full = false;
      if (!this.#stopped) this.#consumer()?.resume(lane.topic, lane.partition);
    }
  }

  /** One message of each lane in turn, so that a full one does not keep the others waiting. */
  #take(most: number): Delivery[] {
    const batch: Delivery[] = [];
    let idle = 0;
    while (batch.length < most && idle < this.#turn.length) {
      const lane = this.#turn.shift()!;
      this.#turn.push(lane);
      const record = this.#forwarding && lane.out.size >= OF_EACH ? null : lane.next();
      if (record === null) idle++;
      else {
        idle = 0;
        batch.push(this.#delivery(lane, record));
      }
    }
    for (const lane of this.#turn) this.brake(lane);
    return batch;
  }

  #delivery(lane: Lane, record: ReceivedRecord): Delivery {
    const own = ownHeaders(record.headers);
    if (own !== null) this.#spoofs.look(own);
    // Once for each batch: the first of its records has all of it.
    if (record.unreadable !== null && record.value !== null && record.value.length > 0)
      this.#events.surfaced(
        `${lane.topic}/${lane.partition}: ${record.unreadable}; its messages, from offset ${record.offset} on, cannot be read`,
      );
    const message = incoming(this.#subscription.topic.name, record);
    return {
      token: record.offset,
      lane: lane.number,
      epoch: lane.epoch,
      place: `${lane.topic}/${lane.partition}/${record.offset}`,
      count: null,
      message: this.#forwarding ? { ...message, native: record } : message,
    };
  }
}
