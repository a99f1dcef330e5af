// The port: an adapter moves bytes once and reports; it has no retry, no time-out and no queue of its own.
import type { AuditPort } from "./audit.ts";
import type { Clock, Random } from "../clock.ts";
import type { HalfMessagePort } from "./half.ts";
import type { Receiver, ReceiverEvents, Subscription } from "./receiving.ts";
import type { Sender, SenderEvents } from "./sending.ts";
import type { TopicPlan } from "./topic-plan.ts";

/** What `rabbitmq({…})`, `kafka({…})` or `memory()` gives: resolved options, nothing opened yet. */
export interface Broker {
  readonly name: string;
  open(host: Host): Transport;
}

/** What core lends an adapter. */
export interface Host {
  readonly service: string;
  /** 128 random bits, hex: this `openTally()`. */
  readonly run: string;
  readonly clock: Clock;
  readonly random: Random;
}

/**
 * One broker, as an adapter sees it. Core decides when sessions are opened, retired and disposed of; the adapter shares
 * connections among them as it likes (RabbitMQ: one for sending, another for receiving).
 */
export interface Transport extends AsyncDisposable {
  /** The destination's name: stands in each outbox row. */
  readonly name: string;
  readonly traits: Traits;
  readonly admin: AdminPort;
  /** A capability is a whole port, or null. */
  readonly halfMessages: HalfMessagePort | null;
  readonly members: MembersPort | null;
  readonly audit: AuditPort | null;
  /** @throws TallyError `unreachable`, `unauthorized` … ; one try, core repeats it. */
  openSender(events: SenderEvents, signal: AbortSignal): Promise<Sender>;
  /** Delivers from here on, also before the promise settles. One try, core repeats it. */
  openReceiver(subscription: Subscription, events: ReceiverEvents, signal: AbortSignal): Promise<Receiver>;
}

/** Consumers of a group show each other a few words: which inbox they have. */
export interface MembersPort {
  /**
   * Takes a seat among those who consume a topic for a group, and shows them `card` (1,000 bytes at most, no secret): at once,
   * or with the receiver that is opened next for that group (Kafka). `seen` is called with the card of each other member, of
   * those who are there and of those who come, at least once. Resolves when those who are there have been asked; their cards
   * may still come. One try. A seat ends with its connection, without a word; disposing of it is idempotent.
   */
  join(
    topic: string,
    group: string,
    card: string,
    seen: (card: string) => void,
    signal: AbortSignal,
  ): Promise<AsyncDisposable>;
}

/** What brokers do differently; docs/architecture.md has it as one table. What is asked beyond it is refused by name. */
export interface Traits {
  /** Largest body in bytes. */
  readonly maxBytes: number;
  /** How much may be on the wire in one lane without a verdict: the whole window, or one batch (Kafka). */
  readonly inFlightPerLane: "window" | 1;
  /** Milliseconds that a message waits for others of its lane, to go with them; 0: it goes with those of its tick. */
  readonly lingerMs: number;
  /** False (RabbitMQ, Kafka): a resend needs a successor session, since the old one may still answer. */
  readonly resendsInSession: boolean;
  /** Whether the broker says that a message had nowhere to go. */
  readonly unroutable: "reported" | "hidden";
  /** What a slow key holds up on the broker's side. */
  readonly order: "queue" | "partition" | "none";
  /** What a released delivery does: comes again after a delay (RocketMQ), at once (RabbitMQ), or cannot be released (Kafka). */
  readonly release: "delayed" | "now" | "none";
  /** Whether a delivery runs out: invisible time, consumer time-out. */
  readonly deliveryLease: "renewable" | "fixed" | "none";
  /** Deliveries have a stable place, by which foreign messages can be told apart. */
  readonly position: boolean;
  /** Whether the broker says how often it has delivered a message. */
  readonly countsDeliveries: boolean;
  /** Milliseconds by which a copy can be delayed, at most; 0: this broker delays none. */
  readonly longestDelay: number;
  /** Bytes of bodies that a receiver may hold beyond its credit, fetched ahead (Kafka); else 0. */
  readonly aheadBytes: number;
}

/** What a topic needs on the broker: made, checked, counted. */
export interface AdminPort {
  /**
   * Makes what is missing and checks what is there; idempotent. Called before the first message of a topic in each
   * session, and before a receiver opens.
   * @throws TallyError `topology` when what exists contradicts the plan.
   */
  declare(topics: readonly TopicPlan[], signal: AbortSignal): Promise<void>;
  /**
   * Makes what copies of this topic that are delayed by up to `upToMs` need; after `declare` of the same plan, and before
   * the first of them in each session. Never called where `longestDelay` is 0.
   * @throws TallyError `unsupported` where this topic's messages cannot be delayed; `topology`, `unauthorized` …
   */
  declareDelays(plan: TopicPlan, upToMs: number, signal: AbortSignal): Promise<void>;
  /** Messages that the group has not settled yet: waiting, and out at consumers, at least at those of this transport. */
  backlog(topic: string, group: string, signal: AbortSignal): Promise<number>;
}
