import {
  type AdminPort,
  type AuditPort,
  DEAD_LETTERS,
  type Host,
  OpenSessions,
  type Receiver,
  type ReceiverEvents,
  type Sender,
  type SenderEvents,
  type Subscription,
  type Traits,
  type Transport,
  raced,
} from "@tallymq/core/spi";
import { KafkaAdmin } from "./admin.ts";
import { KafkaAudit } from "./audit/audit.ts";
import { Delays } from "./delays/delays.ts";
import { LONGEST_DELAY, STEPS } from "./delays/ladder.ts";
import type { Driver } from "./driver/driver.ts";
import { classify } from "./errors.ts";
import { OF_EACH } from "./handing.ts";
import type { ResolvedOptions } from "./options.ts";
import { Positions } from "./positions.ts";
import { KafkaMembers } from "./members.ts";
import { KafkaReceiver } from "./receiver.ts";
import { KafkaSender } from "./sender.ts";
import { FORWARDERS, Topology } from "./topology.ts";

/** Kafka as a transport. Each session has a client of its own, so that one whose view of the cluster is broken ends with it. */
export class KafkaTransport implements Transport {
  readonly name: string;
  readonly traits: Traits;
  readonly admin: AdminPort;
  readonly halfMessages: null = null;
  readonly audit: AuditPort;
  readonly members: KafkaMembers;
  readonly #o: ResolvedOptions;
  readonly #host: Host;
  readonly #driver: Driver;
  readonly #topology: Topology;
  readonly #admin: KafkaAdmin;
  readonly #positions: Positions;
  readonly #delays: Delays;
  /** Of the session that opened last: what belongs to none is said there. */
  #surfaced: (what: string) => void = () => {};
  readonly #sessions: OpenSessions = new OpenSessions();

  constructor(options: ResolvedOptions, host: Host, driver: Driver) {
    this.name = options.name;
    this.#o = options;
    this.#host = host;
    this.#driver = driver;
    this.traits = Object.freeze({
      maxBytes: options.maxBytes,
      inFlightPerLane: 1,
      lingerMs: options.linger,
      resendsInSession: false,
      unroutable: "hidden",
      order: "partition",
      release: "none",
      deliveryLease: "none",
      position: true,
      countsDeliveries: false,
      longestDelay: LONGEST_DELAY,
      aheadBytes: 2 * options.readAhead,
    });
    this.#topology = new Topology(options);
    this.audit = new KafkaAudit(options, driver, this.#topology, host.clock);
    this.admin = this.#admin = new KafkaAdmin(driver, host.clock, this.#topology, (topic) => this.#delays.begin(topic));
    this.members = new KafkaMembers(this.#admin, host.clock, (topic, group) => this.#topology.groupOf(topic, group));
    this.#positions = new Positions(this.#admin, this.#topology, options.offsetReset);
    this.#delays = new Delays({
      host,
      driver,
      topology: this.#topology,
      admin: this.#admin,
      batchBytes: options.batchBytes,
      receiver: (topic, events, signal) =>
        this.#receiver({ topic, group: FORWARDERS, credit: OF_EACH * STEPS, consumer: "delays" }, events, signal),
      surfaced: (what) => this.#surfaced(what),
    });
  }

  async openSender(events: SenderEvents, signal: AbortSignal): Promise<Sender> {
    this.#sessions.throwIfClosed();
    signal.throwIfAborted();
    try {
      const producer = await raced(this.#driver.producer(), signal, (late) => void late.close());
      const sender = this.#sessions.add(
        new KafkaSender(producer, this.#topology, events, this.#o, this.#sessions.ended),
      );
      this.#surfaced = (what) => events.surfaced(what);
      return sender;
    } catch (thrown) {
      throw signal.aborted ? signal.reason : classify(thrown, this.#brokers, "opening");
    }
  }

  async openReceiver(subscription: Subscription, events: ReceiverEvents, signal: AbortSignal): Promise<Receiver> {
    this.#sessions.throwIfClosed();
    await this.#admin.declareFor(subscription.topic, subscription.group, signal);
    const receiver = await this.#receiver(subscription, events, signal);
    this.#sessions.add(receiver);
    const ended = async (): Promise<void> => {
      await receiver[Symbol.asyncDispose]().catch(() => {});
      this.#sessions.ended(receiver);
    };
    if (receiver.gone.aborted) void ended();
    else receiver.gone.addEventListener("abort", () => void ended(), { once: true });
    this.#surfaced = (what) => events.surfaced(what);
    if (subscription.group !== DEAD_LETTERS) this.#delays.watch(subscription.topic.name, receiver.gone);
    return receiver;
  }

  #receiver(subscription: Subscription, events: ReceiverEvents, signal: AbortSignal): Promise<KafkaReceiver> {
    return KafkaReceiver.open(
      subscription,
      events,
      {
        driver: this.#driver,
        topology: this.#topology,
        positions: this.#positions,
        clock: this.#host.clock,
        card: this.members.cardOf(subscription.topic.name, subscription.group),
        rebalanced: () => this.members.changed(subscription.topic.name, subscription.group),
        fetchBytes: this.#o.fetchBytes,
        readAhead: this.#o.readAhead,
        watchdog: 3 * this.#o.sessionTimeout,
        forwarding: subscription.group === FORWARDERS,
      },
      signal,
    );
  }

  /** Ends what is still open, commits included. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.members.close();
    await Promise.all([this.#sessions[Symbol.asyncDispose](), this.#delays[Symbol.asyncDispose]()]);
    await this.#admin.close();
  }

  get #brokers(): string {
    return this.#o.brokers.join();
  }
}
