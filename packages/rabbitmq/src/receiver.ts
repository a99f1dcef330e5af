import type { ConsumeMessage } from "amqplib";
import {
  type Clock,
  type Delivery,
  type Receiver,
  type ReceiverEvents,
  type Settlement,
  sleep,
  Spoofs,
  type Subscription,
  TallyError,
  type Timer,
  raced,
} from "@tallymq/core/spi";
import { AckFlow } from "./acks.ts";
import type { RabbitChannel } from "./channel.ts";
import { deliveryCount, incoming } from "./codec.ts";
import { classify } from "./errors.ts";

/** The protocol's prefetch is a 16-bit number, and 0 means no limit. */
const MOST_CREDIT = 65_535;
/** Channels are one lane: a merged ack covers a channel. */
const LANE = 0;
/** Milliseconds: what a quorum queue takes to answer a few dozen acks, with room. */
const PASS_ON_MS = 50;

let epochs = 0;

/**
 * A session for receiving: one channel with a prefetch of the credit, one consumer on it, manual acks.
 *
 * On an ordered topic the consumer is never cancelled: the broker answers a cancel of the single active consumer by
 * starting the next one while this one still holds what came before (4 5 6 before 1 2 3). Only the channel's end gives
 * everything back at its old place, and then starts the next. So there
 * - `stop` leaves alone what still comes; it is the broker's again at `dispose`. Elsewhere it cancels;
 * - `dispose` flushes and closes the channel, whatever it still holds.
 *
 * `pause` holds deliveries here, on any topic: at most the credit is out either way. A pause is bounded by the broker's
 * consumer time-out (30 minutes by default): what is unsettled then ends the session, and comes again.
 */
export class RabbitReceiver implements Receiver {
  readonly epoch: number = ++epochs;
  readonly queue: string;
  readonly #channel: RabbitChannel;
  readonly #subscription: Subscription;
  readonly #events: ReceiverEvents;
  readonly #spoofs: Spoofs;
  readonly #clock: Clock;
  readonly #acks: AckFlow;
  /** Of the credit, in deliveries. */
  readonly #quarter: number;
  /** Delivered by the broker since the last hand-over, or while paused. */
  #held: Delivery[] = [];
  #handing = false;
  #flushing = false;
  #timer: Timer | null = null;
  /** When acks last left alone. */
  #aloneAt = Number.NEGATIVE_INFINITY;
  #paused = false;
  #stopping: Promise<void> | null = null;
  #stopped = false;
  #over = false;

  private constructor(
    channel: RabbitChannel,
    queue: string,
    subscription: Subscription,
    events: ReceiverEvents,
    clock: Clock,
  ) {
    this.#channel = channel;
    this.queue = queue;
    this.#subscription = subscription;
    this.#events = events;
    this.#spoofs = new Spoofs(subscription, events);
    this.#clock = clock;
    this.#quarter = Math.ceil(credit(subscription) / 4);
    const { raw } = channel;
    this.#acks = new AckFlow({
      ack: (deliveryTag, multiple) => raw.ack(tagged(deliveryTag), multiple),
      nack: (deliveryTag) => raw.nack(tagged(deliveryTag), false, true),
    });
    // The driver's own listeners find a consumer by its tag and take the channel, or the connection, down when there is
    // none (a delivery that crosses a cancel). Here there is one consumer, and what comes after its end is left alone.
    raw.removeAllListeners("delivery");
    raw.removeAllListeners("cancel");
    raw.on("delivery", (message) => this.#delivered(message));
    raw.on("cancel", () => this.#lost(cancelled(queue)));
    channel.onEnd = (error) => this.#lost(error);
  }

  static async open(
    channel: RabbitChannel,
    queue: string,
    subscription: Subscription,
    events: ReceiverEvents,
    clock: Clock,
    signal: AbortSignal,
  ): Promise<RabbitReceiver> {
    const receiver = new RabbitReceiver(channel, queue, subscription, events, clock);
    const { raw } = channel;
    try {
      // For each consumer, never for the channel: a global prefetch on a quorum queue ends the whole connection.
      await raced(raw.prefetch(credit(subscription), false), signal);
      // The priority is the default. A stream knows none, and is refused for it: with acks and a prefetch, as it wants
      // them, it would deliver, and begin anew at each session.
      await raced(
        raw.consume(queue, () => {}, { consumerTag: subscription.consumer, noAck: false, priority: 0 }),
        signal,
      );
    } catch (thrown) {
      receiver.#over = true;
      channel.onEnd = null;
      void channel.close();
      throw signal.aborted ? signal.reason : classify(thrown, `queue ${JSON.stringify(queue)}`, "declaring");
    }
    return receiver;
  }

  /** Deliveries that are not settled, as far as the broker has been told. */
  get unsettled(): number {
    return this.#over ? 0 : this.#acks.open + this.#acks.unsent.length;
  }

  settle(batch: readonly Settlement[]): void {
    if (this.#over || this.#channel.over) return;
    for (const { kind, delivery } of batch) {
      // A tag of another channel would settle another message here.
      if (delivery.epoch !== this.epoch) continue;
      if (kind === "ack") this.#acks.ack(delivery);
      else this.#guard(() => this.#acks.release(delivery));
    }
    if (this.#acks.pending) this.#schedule();
  }

  extend(delivery: Delivery): Promise<boolean> {
    // Nothing to renew: a delivery is this channel's for as long as the channel lives.
    return Promise.resolve(!this.#over && delivery.epoch === this.epoch && this.#acks.isOpen(delivery.token as number));
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#handOver();
  }

  stop(): Promise<void> {
    this.#stopping ??= this.#cancel();
    return this.#stopping;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#over) {
      this.#guard(() => this.#alone(this.#acks.flush(true)));
      this.#leave();
    }
    // The broker has read all acks before it answers the close. That is not yet the queue: after many single acks its
    // channel holds some back until the queue has answered, and they would go down with it.
    if (this.#clock.now() - this.#aloneAt < PASS_ON_MS) await sleep(this.#clock, PASS_ON_MS);
    await this.#channel.close();
  }

  /** Resolves when nothing more can come: the broker answers a cancel after what it sent before it. */
  async #cancel(): Promise<void> {
    if (this.#over || this.#channel.over) return;
    if (!this.#subscription.topic.ordered) {
      try {
        await Promise.race([this.#channel.raw.cancel(this.#subscription.consumer), this.#channel.ended]);
      } catch {
        // The channel ended: #lost says so.
      }
    }
    this.#handOver();
    this.#stopped = true;
    // Held by a pause and never seen by a handler. On an ordered topic they keep their place until the channel ends.
    const held = this.#held.splice(0);
    if (!this.#subscription.topic.ordered) for (const delivery of held) this.#guard(() => this.#acks.release(delivery));
  }

  #delivered(message: ConsumeMessage): void {
    // After the consumer's end nobody settles it; it goes back to the queue when the channel closes.
    if (this.#over || this.#stopped) return;
    const { deliveryTag } = message.fields;
    this.#spoofs.look(message.properties.headers ?? {});
    this.#acks.delivered(deliveryTag);
    this.#held.push({
      token: deliveryTag,
      lane: LANE,
      epoch: this.epoch,
      place: null,
      count: deliveryCount(message),
      message: incoming(this.#subscription.topic.name, message),
    });
    if (this.#handing || this.#paused) return;
    // The driver reads a whole piece of the socket in one go: its deliveries are handed over together, right after it.
    this.#handing = true;
    queueMicrotask(() => {
      this.#handing = false;
      this.#handOver();
    });
  }

  #handOver(): void {
    if (this.#paused || this.#held.length === 0 || this.#over || this.#stopped) return;
    const batch = this.#held;
    this.#held = [];
    this.#events.deliver(batch);
  }

  /**
   * Acks are held for a millisecond, so that one frame covers what several reads of the socket brought; not longer than
   * until a quarter of the credit waits for it, since the broker sends against the credit: it never runs dry by this.
   */
  #schedule(): void {
    if (this.#acks.fresh < this.#quarter) this.#timer ??= this.#clock.after(1, () => this.#tick());
    else if (!this.#flushing) {
      this.#flushing = true;
      queueMicrotask(() => {
        this.#flushing = false;
        this.#flush();
      });
    }
  }

  #tick(): void {
    this.#timer = null;
    this.#flush();
  }

  #flush(): void {
    if (this.#over || this.#channel.over) return;
    this.#guard(() => this.#alone(this.#acks.flush(false)));
    if (this.#acks.pending) this.#timer ??= this.#clock.after(1, () => this.#tick());
  }

  #alone(acks: number): void {
    if (acks > 0) this.#aloneAt = this.#clock.now();
  }

  /** The driver throws on a channel that is closing; its end is on the way. */
  #guard(act: () => void): void {
    try {
      act();
    } catch {
      // #lost follows, by the channel's end.
    }
  }

  #leave(): void {
    this.#over = true;
    this.#channel.onEnd = null;
    this.#timer?.cancel();
    this.#timer = null;
  }

  #lost(error: TallyError): void {
    if (this.#over) return;
    // What came before the end of the session is told before it.
    this.#handOver();
    const { unsent } = this.#acks;
    this.#leave();
    if (unsent.length > 0) this.#events.unsettled(unsent, error);
    this.#events.lost(error);
    void this.#channel.close();
  }
}

function credit(subscription: Subscription): number {
  return Math.min(subscription.credit, MOST_CREDIT);
}

function tagged(deliveryTag: number): ConsumeMessage {
  return { fields: { deliveryTag } } as ConsumeMessage;
}

function cancelled(queue: string): TallyError {
  return new TallyError(
    "session-lost",
    `the broker cancelled the consumer: queue ${JSON.stringify(queue)} was deleted, or its leader is gone`,
    { retryable: true },
  );
}
