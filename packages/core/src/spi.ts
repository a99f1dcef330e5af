// What adapters implement and may use: types and small tools for them, in one place. Users import "@tallymq/core".
import type { Clock, Random } from "./clock.ts";
import type { TallyError } from "./error.ts";
import type { AuditPort } from "./audit/finding.ts";
import type { Incoming, Outgoing } from "./message.ts";

export type { Clock, Random, Timer } from "./clock.ts";
export { sleep } from "./clock.ts";
export type { Backoff } from "./backoff.ts";
export { fullJitter } from "./backoff.ts";
export { type AuditCheck, findingsOf, type Found, type Looked } from "./audit/checks.ts";
export type { AuditFinding, AuditPort, AuditSubject, Severity } from "./audit/finding.ts";
export { describe, TallyError, type ErrorCode, type TallyErrorOptions } from "./error.ts";
export {
  HEADER,
  parseAttempt,
  parseSeq,
  RESERVED_PREFIX,
  spoofedHeaders,
  type Incoming,
  type Outgoing,
} from "./message.ts";
export { DEAD_LETTERS } from "./dead-letters/letter.ts";
export { milliseconds, LONGEST_TIMER, type Duration } from "./duration.ts";
export {
  choice,
  duration,
  entries,
  flag,
  integer,
  resolveOptions,
  text,
  utf8Length,
  value,
  type Bounds,
  type Rule,
} from "./policy.ts";

export { type HostPort, hostPorts, readHostPort } from "./host-port.ts";
export { raced } from "./raced.ts";
export { OpenSessions } from "./session/open-sessions.ts";
export { coderOf, type Coder } from "./platform/zip.ts";
export { DEFAULT_TLS, resolveTls, type ResolvedTls, type TlsOptions } from "./tls.ts";
export { armFailpoints, type Failpoint, FAILPOINTS } from "./failpoints.ts";
export * from "./stores.ts";
export * from "./half/store.ts";

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

// ── verdicts ──────────────────────────────────────────────────────────────────

/** `unverified`: the broker does not say. */
export type Sure = "yes" | "no" | "unverified";
/** What the broker vouched for when it accepted a copy. */
export interface Proof {
  /** At least one queue (partition, group) has it. */
  readonly routed: Sure;
  /** It is on a disk. */
  readonly persisted: Sure;
  /** More than one node has it. */
  readonly replicated: Sure;
}

/**
 * The end of ONE copy in one session.
 *
 * | kind | meaning |
 * |---|---|
 * | `accepted` | the broker has it, with this proof |
 * | `unroutable`, `refused` | never, as it is |
 * | `later` | not taken; ask again after at least `afterMs` (nack, flow control). `error.mayArrive`: a part of it may be stored |
 * | `unsent` | never left this process |
 * | `doubt` | may be stored: time-out, lost session, unknown code |
 */
export type Verdict =
  | { readonly kind: "accepted"; readonly proof: Proof }
  | { readonly kind: "unroutable" | "refused" | "unsent" | "doubt"; readonly error: TallyError }
  | { readonly kind: "later"; readonly error: TallyError; readonly afterMs: number };

// ── the transport: moves bytes once and reports; no retry, no time-out, no queue of its own ──

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

/** What brokers do differently; printed as one table, and what is asked beyond it is refused at start, by name. */
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

/** A topic as the broker should have it. */
export interface TopicPlan {
  readonly name: string;
  readonly ordered: boolean;
  /** Groups whose copy must exist before anything is published. */
  readonly groups: readonly string[];
}

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

/**
 * A session for sending. `send` never throws and gives each index of the batch exactly one verdict, in any order,
 * synchronously or later. A session that ends reports `lost` first and then `doubt` (or `unsent`) for each copy that has
 * no verdict, in the same tick; so does one that is disposed of, without `lost`.
 */
export interface Sender extends AsyncDisposable {
  /**
   * Pure: Kafka's partition, RocketMQ's queue, else 0. Core keeps at most `inFlightPerLane` there. Lanes may be numbered anew
   * after each start.
   * @param kept Where it is to go: what {@link Sender.kept} said of the lane of an earlier copy, perhaps in another process;
   *   or any whole number from 0 on, of which the same one always gives the same lane. Null: the sender chooses.
   */
  lane(message: Outgoing, kept: number | null): number;
  /** What a stored row remembers of a lane: a whole number from 0 to 2³¹ - 1, or null where it matters to nobody. Pure. */
  kept(lane: number): number | null;
  /** The batch is core's own array and stays unchanged. */
  send(lane: number, batch: readonly Outgoing[], verdict: (index: number, verdict: Verdict) => void): void;
}

/** Synchronous, in the order of the wire. */
export interface SenderEvents {
  /** The broker reads no more from this session; what `send` is given now stays in memory or comes back `unsent`. */
  blocked(reason: string): void;
  unblocked(): void;
  /**
   * It can take no more, though what it has out still ends by itself (Kafka: a producer of which one send was rejected). A
   * successor is to be opened. Once, before the verdict that says why; what `send` is given from here comes back `unsent`.
   */
  retired(error: TallyError): void;
  /** The session is over, whoever ended it except `dispose`. Once. */
  lost(error: TallyError): void;
  /** Something that a person should know, and that no verdict says (a tag out of range, a return without a publish). */
  surfaced(what: string): void;
}

// ── receiving ─────────────────────────────────────────────────────────────────

export interface Subscription {
  readonly topic: TopicPlan;
  readonly group: string;
  /** At most so many deliveries without a settlement (Kafka: plus one fetch). */
  readonly credit: number;
  /** Name of this consumer among those of its group, for the broker's listings. */
  readonly consumer: string;
}

export interface Delivery {
  /** The adapter's handle: delivery tag, offset, receipt handle. */
  readonly token: unknown;
  /** Channel, partition, queue: the scope of a merged ack. */
  readonly lane: number;
  /** The session or assignment that delivered it; a settlement from an earlier epoch is a no-op. */
  readonly epoch: number;
  /** `"partition/offset"`, stable over redeliveries; null where the broker has none. */
  readonly place: string | null;
  /** Deliveries so far, this one included, as counted by the broker; null where it does not count. */
  readonly count: number | null;
  readonly message: Incoming;
}

/** Dead letters, delayed and parked copies are core's own publishes, followed by `ack`. */
export type Settlement =
  | { readonly kind: "ack"; readonly delivery: Delivery }
  | { readonly kind: "release"; readonly delivery: Delivery; readonly afterMs: number };

/** A session for receiving; `dispose` flushes settlements, then leaves, and what is unsettled comes again elsewhere. */
export interface Receiver extends AsyncDisposable {
  /**
   * Never throws. Acks may be merged, but only over a fully settled prefix of their lane: one that
   * named a later delivery would cover those that are still in their handlers.
   */
  settle(batch: readonly Settlement[]): void;
  /** False: the delivery's lease is gone, a second delivery is under way. */
  extend(delivery: Delivery, ms: number): Promise<boolean>;
  /** No more deliveries of this lane until resumed; those out stay valid. */
  pause(lane: number): void;
  resume(lane: number): void;
  /** No more deliveries at all; settling goes on. Resolves when the last delivery is in. */
  stop(): Promise<void>;
}

/** Synchronous, in the order of the wire. */
export interface ReceiverEvents {
  deliver(batch: readonly Delivery[]): void;
  /** Awaited only by drivers that can. */
  revoking(epoch: number, lanes: readonly number[]): Promise<void>;
  /** From here a settlement of that epoch and lane is a no-op. */
  revoked(epoch: number, lanes: readonly number[]): void;
  /** The settlement did not take: these will come again. */
  unsettled(batch: readonly Delivery[], error: TallyError): void;
  /** Messages of a lane are gone from the broker, never delivered. */
  gap(lane: number, from: string, to: string): void;
  /** The session is over, whoever ended it except `dispose` (connection, cancelled consumer, deleted queue). Once. */
  lost(error: TallyError): void;
  /** Something that a person should know and no delivery says. */
  surfaced(what: string): void;
}

// ── half messages (transactions of the broker's own kind) ─────────────────────

export type Decision = "commit" | "rollback" | "unknown";

/** Half messages that the broker itself keeps: handed out when they are committed, and asked about while they are not. */
export interface HalfMessagePort {
  /** Pure: why this broker keeps no half messages of such a topic, by name (`unsupported`); null: it does. */
  refuses(topic: TopicPlan): TallyError | null;
  /**
   * Makes what half messages of these topics need, and opens a session: from here on it may be asked about each half message of
   * them, whoever sent it. One try, core repeats it.
   */
  open(topics: readonly TopicPlan[], events: HalfEvents, signal: AbortSignal): Promise<HalfSession>;
  /** Whether consumers have it, or get it: the only proof that a commit took. `no`: not yet. One try. */
  delivered(message: Outgoing, signal: AbortSignal): Promise<Sure>;
  /** The broker asks no more about a half message that is so old, in milliseconds, and drops it. One try. */
  asksFor(signal: AbortSignal): Promise<number>;
  /** How many half messages the broker has dropped so far, of whatever service. One try. */
  dropped(signal: AbortSignal): Promise<number>;
}

/** A session that ends gives each open `prepare` its `doubt` or `unsent`. */
export interface HalfSession extends AsyncDisposable {
  /** One topic more, as with `open`. Idempotent. */
  add(topic: TopicPlan, signal: AbortSignal): Promise<void>;
  /**
   * One copy of a half message, and the handle by which it can be decided in this session for a while; null unless accepted.
   * Never rejects.
   * @param name Of the declared half: comes back with each question.
   */
  prepare(name: string, message: Outgoing): Promise<{ readonly verdict: Verdict; readonly handle: string | null }>;
  /** A hint to the broker: that it resolves is no proof, and the recorded decision is the truth. */
  decide(message: Outgoing, handle: string, decision: "commit" | "rollback"): Promise<void>;
}

/** Synchronous. */
export interface HalfEvents {
  /** The broker asks. `unknown`, or no answer: it asks again. @param answer To be called once at most. */
  asked(name: string, message: Incoming, answer: (decision: Decision) => void): void;
  /** The session is over, whoever ended it except `dispose`. Once. */
  lost(error: TallyError): void;
}
