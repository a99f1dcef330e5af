import {
  type AdminPort,
  type AuditPort,
  type Host,
  type MembersPort,
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
import { RabbitAdmin } from "./admin.ts";
import { RabbitAudit } from "./audit/audit.ts";
import type { RabbitChannel } from "./channel.ts";
import { classify } from "./errors.ts";
import { MAX_BYTES } from "./encoder.ts";
import type { ResolvedOptions } from "./options.ts";
import { RabbitMembers } from "./members.ts";
import { RabbitReceiver } from "./receiver.ts";
import { RabbitSender } from "./sender.ts";
import { SharedConnection } from "./shared.ts";
import { Topology } from "./topology.ts";
import { QUORUM_GAP, TxSender } from "./tx-sender.ts";

/**
 * RabbitMQ as a transport. Two connections, each opened when first needed: on a memory or disk alarm the broker stops
 * reading from a connection that publishes, and acks on it would stand still as well.
 */
export class RabbitTransport implements Transport {
  readonly name: string;
  readonly traits: Traits;
  readonly admin: AdminPort;
  readonly halfMessages: null = null;
  readonly audit: AuditPort;
  readonly members: MembersPort;
  readonly #topology: Topology;
  readonly #host: Host;
  readonly #options: ResolvedOptions;
  readonly #publishing: SharedConnection;
  readonly #consuming: SharedConnection;
  readonly #senders: OpenSessions<Sender> = new OpenSessions();
  readonly #receivers: OpenSessions<RabbitReceiver> = new OpenSessions();
  /** Without heartbeats, and nobody told yet. */
  #deaf: boolean;
  #gapTold = false;

  constructor(options: ResolvedOptions, host: Host) {
    this.name = options.name;
    this.#host = host;
    this.#options = options;
    this.#deaf = options.heartbeat === 0;
    this.traits = Object.freeze({
      maxBytes: MAX_BYTES,
      inFlightPerLane: "window",
      lingerMs: 0,
      resendsInSession: false,
      unroutable: "reported",
      order: "queue",
      release: "now",
      deliveryLease: "fixed",
      position: false,
      countsDeliveries: options.queueType === "quorum",
      longestDelay: options.longestDelay,
      aheadBytes: 0,
    });
    this.#topology = new Topology(options);
    const { urls, heartbeat, frameMax, tls, credentials, connectTimeout } = options;
    const { clock, random } = host;
    const plan = { urls, heartbeat, frameMax, tls, credentials, connectTimeout, clock, random };
    this.#publishing = new SharedConnection({ ...plan, label: `${host.service} (publishing)` });
    this.#consuming = new SharedConnection({ ...plan, label: `${host.service} (consuming)` });
    this.members = new RabbitMembers(this.#publishing, (topic, group) => this.#topology.queueOf(topic, group));
    const admin = new RabbitAdmin(this.#topology, this.#publishing, this.#consuming, (queue) => {
      let sum = 0;
      for (const receiver of this.#receivers) if (receiver.queue === queue) sum += receiver.unsettled;
      return sum;
    });
    this.admin = admin;
    this.audit = new RabbitAudit(options, (signal) => admin.connection(signal));
  }

  async openSender(events: SenderEvents, signal: AbortSignal): Promise<Sender> {
    const connection = await this.#publishing.get(signal);
    const channel = await connection.channel(signal);
    try {
      await raced(this.#options.mode === "tx" ? channel.txSelect() : channel.confirmSelect(), signal);
      const sender = this.#senders.add(this.#sender(channel, events));
      this.#warn(events);
      const unhear = connection.hear((what) => events.surfaced(what));
      void sender.gone.then(() => {
        this.#senders.ended(sender);
        unhear();
      });
      return sender;
    } catch (thrown) {
      void channel.close();
      throw signal.aborted ? signal.reason : classify(thrown, connection.where, "opening");
    }
  }

  async openReceiver(subscription: Subscription, events: ReceiverEvents, signal: AbortSignal): Promise<Receiver> {
    const { topic, group } = subscription;
    const queue = this.#topology.queueOf(topic.name, group);
    const connection = await this.#consuming.get(signal);
    const channel = await connection.channel(signal);
    try {
      // The group's own queue: it is in no topic's plan unless the topic names the group.
      await raced(this.#topology.declare(channel, topic, [group], "consumer", signal), signal);
      this.#receivers.throwIfClosed();
      this.#warn(events);
    } catch (thrown) {
      void channel.close();
      throw signal.aborted ? signal.reason : thrown;
    }
    const receiver = await RabbitReceiver.open(channel, queue, subscription, events, this.#host.clock, signal);
    this.#receivers.add(receiver);
    const unhear = connection.hear((what) => events.surfaced(what));
    void channel.ended.then(() => {
      this.#receivers.ended(receiver);
      unhear();
    });
    return receiver;
  }

  /** Ends what is still open, acks included, and both connections. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#receivers[Symbol.asyncDispose](), this.#senders[Symbol.asyncDispose]()]);
    await Promise.allSettled([this.#publishing.close(), this.#consuming.close()]);
  }

  #sender(channel: RabbitChannel, events: SenderEvents): RabbitSender | TxSender {
    const { mode, txMessages: messages, txBytes: bytes, queueType } = this.#options;
    if (mode === "confirm") return new RabbitSender(channel, this.#topology, events);
    if (queueType === "quorum" && !this.#gapTold) {
      this.#gapTold = true;
      events.surfaced(QUORUM_GAP);
    }
    return new TxSender(channel, this.#topology, events, { messages, bytes, queueType });
  }

  #warn(events: { surfaced(what: string): void }): void {
    if (!this.#deaf) return;
    this.#deaf = false;
    events.surfaced(
      "heartbeats are off (heartbeat: 0): a half-open connection is noticed only when the system gives it up",
    );
  }
}
