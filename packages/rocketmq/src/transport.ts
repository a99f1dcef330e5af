import {
  type AdminPort,
  type AuditPort,
  type HalfMessagePort,
  type Host,
  OpenSessions,
  raced,
  type Receiver,
  type ReceiverEvents,
  type Sender,
  type SenderEvents,
  type Subscription,
  type Traits,
  type Transport,
} from "@tallymq/core/spi";
import { RocketAdmin } from "./admin.ts";
import { RocketAudit } from "./audit/audit.ts";
import type { Driver, InMessage } from "./driver/driver.ts";
import { classify } from "./errors.ts";
import type { ResolvedOptions } from "./options.ts";
import { RocketReceiver } from "./receiver.ts";
import type { Cluster } from "./remoting/cluster.ts";
import { RocketSender } from "./sender.ts";
import { Topology } from "./topology.ts";
import { RocketHalves } from "./transactions/halves.ts";

/** Three days, the broker's own `timerMaxDelaySec`, less what a clock may be off. */
const LONGEST_DELAY = 3 * 86_400_000 - 60_000;

/** RocketMQ as a transport. Each session has a connection of its own, to one proxy, and ends with it. */
export class RocketTransport implements Transport {
  readonly name: string;
  readonly traits: Traits;
  readonly admin: AdminPort;
  readonly halfMessages: HalfMessagePort | null;
  readonly audit: AuditPort;
  readonly members: null = null;
  readonly #o: ResolvedOptions;
  readonly #host: Host;
  readonly #driver: Driver;
  readonly #topology: Topology;
  readonly #admin: RocketAdmin;
  readonly #orphans: Map<string, Set<InMessage>> = new Map();
  readonly #sessions: OpenSessions = new OpenSessions();

  constructor(options: ResolvedOptions, host: Host, driver: Driver, cluster: Cluster | null) {
    this.name = options.name;
    this.#o = options;
    this.#host = host;
    this.#driver = driver;
    this.traits = Object.freeze({
      maxBytes: options.maxBytes,
      inFlightPerLane: 1,
      lingerMs: 0,
      // A request ends by itself, and its answer is its own.
      resendsInSession: true,
      unroutable: "hidden",
      order: "queue",
      release: "delayed",
      deliveryLease: "renewable",
      position: false,
      // It counts, also what it handed to a request that nobody waited for any more.
      countsDeliveries: false,
      longestDelay: LONGEST_DELAY,
      aheadBytes: 0,
    });
    this.#topology = new Topology(options);
    const { name, downtime } = options;
    this.audit = new RocketAudit({ name, downtime, topology: this.#topology, cluster });
    this.admin = this.#admin = new RocketAdmin(options, this.#topology, cluster, driver);
    const halves = {
      driver,
      topology: this.#topology,
      admin: this.#admin,
      clock: host.clock,
      maxBytes: options.maxBytes,
      sessions: this.#sessions,
    };
    // Without a look at the brokers nobody could tell whether a commit took.
    this.halfMessages = cluster === null ? null : new RocketHalves({ ...halves, cluster });
  }

  async openSender(events: SenderEvents, signal: AbortSignal): Promise<Sender> {
    this.#sessions.throwIfClosed();
    signal.throwIfAborted();
    const { clock, random } = this.#host;
    const sender = new RocketSender(events, {
      topology: this.#topology,
      clock,
      limits: this.#o,
      messageId: () => messageId(random.bytes(16)),
      turnedAway: (name) => this.#admin.turnsAway(name),
      ended: this.#sessions.ended,
    });
    try {
      const topics = this.#topology.known;
      const opening = this.#driver.open(
        { kind: "producer", topics },
        { lost: (thrown) => sender.lost(thrown), asked: () => {} },
        signal,
      );
      const link = await raced(opening, signal, (late) => void late.close());
      sender.use(link);
      return this.#sessions.add(sender);
    } catch (thrown) {
      throw signal.aborted ? signal.reason : classify(thrown, this.#endpoints, "opening");
    }
  }

  async openReceiver(subscription: Subscription, events: ReceiverEvents, signal: AbortSignal): Promise<Receiver> {
    this.#sessions.throwIfClosed();
    const { topic, group } = subscription;
    await this.#admin.declareFor(topic, group, signal);
    const id = this.#topology.groupOf(topic.name, group);
    const receiver = await RocketReceiver.open(
      subscription,
      events,
      {
        driver: this.#driver,
        clock: this.#host.clock,
        group: id,
        topics: await this.#admin.read(topic, group, signal),
        standing: this.#admin.standing(id),
        orphans: this.#orphansOf(id),
        invisible: this.#o.invisible,
        receiveWait: this.#o.receiveWait,
        ended: this.#sessions.ended,
      },
      signal,
    );
    return this.#sessions.add(receiver);
  }

  /** Ends what is still open, settlements included. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#sessions[Symbol.asyncDispose]();
    this.#admin.close();
  }

  get #endpoints(): string {
    return this.#o.endpoints.map(({ name }) => name).join();
  }

  #orphansOf(group: string): Set<InMessage> {
    let orphans = this.#orphans.get(group);
    if (orphans === undefined) this.#orphans.set(group, (orphans = new Set()));
    return orphans;
  }
}

/** The protocol's own id of a message, version 1: 17 bytes. Random, since the client's are the same in each worker thread. */
function messageId(random: Uint8Array): string {
  let id = "01";
  for (const byte of random) id += byte.toString(16).toUpperCase().padStart(2, "0");
  return id;
}
