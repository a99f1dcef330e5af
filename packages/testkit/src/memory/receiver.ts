import {
  type Delivery,
  type Receiver,
  type ReceiverEvents,
  type Settlement,
  type Subscription,
  TallyError,
} from "@tallymq/core/spi";
import type { ConsumerPort, GroupConsumer, Out } from "../broker/group.ts";
import { type Bench, type Losable, sessionLost } from "./bench.ts";
import { copyOf } from "./traits.ts";

/** A session for receiving from the broker in this process: one consumer of one group. */
export class MemoryReceiver implements Receiver, ConsumerPort, Losable {
  readonly #bench: Bench;
  readonly #subscription: Subscription;
  readonly #events: ReceiverEvents;
  readonly #gone: (receiver: MemoryReceiver) => void;
  readonly #consumer: GroupConsumer;
  readonly #epoch: number;
  #stopped = false;
  /** Lost, but not told yet: nothing gets through any more. */
  #cut = false;
  #over = false;

  /** @throws TallyError `topology` when the group was not declared. */
  constructor(
    bench: Bench,
    subscription: Subscription,
    events: ReceiverEvents,
    gone: (receiver: MemoryReceiver) => void,
  ) {
    this.#bench = bench;
    this.#subscription = subscription;
    this.#events = events;
    this.#gone = gone;
    this.#epoch = ++bench.epoch;
    this.#consumer = bench.engine.subscribe(subscription.topic.name, subscription.group, subscription.credit, this);
    bench.sessions.add(this);
  }

  deliver(batch: readonly Out[]): void {
    const deliveries: Delivery[] = [];
    for (const out of batch) {
      for (const fault of this.#bench.script.strike("deliver", out.entry.message.id)) {
        if (fault.do === "duplicateDelivery")
          this.#bench.engine.find(this.#subscription.topic.name, this.#subscription.group)?.duplicate(out);
        else this.#cutOff();
      }
      if (this.#cut) break;
      deliveries.push({
        token: out,
        lane: 0,
        epoch: this.#epoch,
        place: null,
        count: out.count,
        message: copyOf(out.entry.message),
      });
    }
    if (deliveries.length > 0) this.#events.deliver(deliveries);
  }

  removed(): void {
    const { topic, group } = this.#subscription;
    this.lose(
      new TallyError("topology", `group ${JSON.stringify(group)} of topic ${JSON.stringify(topic.name)} was removed`, {
        retryable: true,
      }),
    );
  }

  settle(batch: readonly Settlement[]): void {
    for (const settlement of batch) {
      if (this.#over || this.#cut) return;
      const { delivery } = settlement;
      // Of an earlier session: its end has already given back what was out.
      if (delivery.epoch !== this.#epoch) continue;
      const out = delivery.token as Out;
      const faults = this.#bench.script.strike("settle", delivery.message.id);
      if (faults.some((f) => f.do === "loseSession")) return this.#cutOff();
      if (faults.some((f) => f.do === "dropSettlement")) continue;
      if (faults.some((f) => f.do === "rejectSettlement")) {
        this.#consumer.release(out, 0);
        const error = new TallyError("refused", "the settlement did not take", {
          id: delivery.message.id ?? undefined,
        });
        queueMicrotask(() => !this.#over && this.#events.unsettled([delivery], error));
        continue;
      }
      const took =
        settlement.kind === "ack" ? this.#consumer.ack(out) : this.#consumer.release(out, settlement.afterMs);
      if (!took)
        this.#events.surfaced(`a delivery of message ${JSON.stringify(delivery.message.id)} was settled twice`);
    }
  }

  extend(delivery: Delivery): Promise<boolean> {
    return Promise.resolve((delivery.token as Out).holder === this.#consumer);
  }

  pause(): void {
    this.#consumer.pause();
  }

  resume(): void {
    if (!this.#stopped && !this.#over) this.#consumer.resume();
  }

  stop(): Promise<void> {
    this.#stopped = true;
    this.#consumer.pause();
    return Promise.resolve();
  }

  lose(error: TallyError): void {
    if (this.#over) return;
    this.#end();
    this.#events.lost(error);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#over) this.#end();
  }

  /** Told in a microtask: nobody is called back from within `settle`, nor out of turn. */
  #cutOff(): void {
    this.#cut = true;
    queueMicrotask(() => this.lose(sessionLost()));
  }

  #end(): void {
    this.#over = true;
    this.#bench.sessions.delete(this);
    this.#gone(this);
    this.#consumer.close();
  }
}
