import {
  type AdminPort,
  type Host,
  type Receiver,
  type ReceiverEvents,
  type Sender,
  type SenderEvents,
  type Subscription,
  TallyError,
  type Traits,
  type Transport,
  raced,
} from "@tallymq/core/spi";
import { KafkaAdmin } from "./admin.ts";
import type { Driver } from "./driver/driver.ts";
import { classify } from "./errors.ts";
import type { ResolvedOptions } from "./options.ts";
import { Positions } from "./positions.ts";
import { KafkaReceiver } from "./receiver.ts";
import { KafkaSender } from "./sender.ts";
import { Topology } from "./topology.ts";

/** Kafka as a transport. Each session has a client of its own, so that one whose view of the cluster is broken ends with it. */
export class KafkaTransport implements Transport {
  readonly name: string;
  readonly traits: Traits;
  readonly admin: AdminPort;
  readonly halfMessages: null = null;
  readonly audit: null = null;
  readonly members: null = null;
  readonly #o: ResolvedOptions;
  readonly #host: Host;
  readonly #driver: Driver;
  readonly #topology: Topology;
  readonly #admin: KafkaAdmin;
  readonly #positions: Positions;
  readonly #sessions: Set<AsyncDisposable> = new Set();
  #closed = false;

  constructor(options: ResolvedOptions, host: Host, driver: Driver) {
    this.name = options.name;
    this.#o = options;
    this.#host = host;
    this.#driver = driver;
    this.traits = Object.freeze({
      maxBytes: options.maxBytes,
      inFlightPerLane: 1,
      resendsInSession: false,
      unroutable: "hidden",
      order: "partition",
      release: "none",
      deliveryLease: "none",
      position: true,
      countsDeliveries: false,
      longestDelay: 0,
    });
    this.#topology = new Topology(options);
    this.admin = this.#admin = new KafkaAdmin(driver, this.#topology);
    this.#positions = new Positions(this.#admin, this.#topology, options.offsetReset);
  }

  async openSender(events: SenderEvents, signal: AbortSignal): Promise<Sender> {
    this.#throwIfClosed();
    signal.throwIfAborted();
    try {
      const producer = await raced(this.#driver.producer(), signal, (late) => void late.close());
      if (this.#closed) void producer.close();
      this.#throwIfClosed();
      const sender = new KafkaSender(producer, this.#topology, events, this.#o);
      this.#sessions.add(sender);
      return sender;
    } catch (thrown) {
      throw signal.aborted ? signal.reason : classify(thrown, this.#brokers, "opening");
    }
  }

  async openReceiver(subscription: Subscription, events: ReceiverEvents, signal: AbortSignal): Promise<Receiver> {
    this.#throwIfClosed();
    await this.#admin.declareFor(subscription.topic, subscription.group, signal);
    const receiver = await KafkaReceiver.open(
      subscription,
      events,
      {
        driver: this.#driver,
        topology: this.#topology,
        positions: this.#positions,
        clock: this.#host.clock,
        watchdog: 3 * this.#o.sessionTimeout,
      },
      signal,
    );
    if (this.#closed) await receiver[Symbol.asyncDispose]();
    this.#throwIfClosed();
    this.#sessions.add(receiver);
    return receiver;
  }

  /** Ends what is still open, commits included. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await Promise.allSettled([...this.#sessions].map((session) => session[Symbol.asyncDispose]()));
    await this.#admin.close();
  }

  get #brokers(): string {
    return this.#o.brokers.join();
  }

  #throwIfClosed(): void {
    if (this.#closed) throw new TallyError("closed", "the transport is closed");
  }
}
