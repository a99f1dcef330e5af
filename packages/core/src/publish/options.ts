import type { Backoff } from "../backoff.ts";
import type { Duration } from "../duration.ts";
import { type Bounds, duration, integer } from "../policy.ts";
import type { Outgoing } from "../message.ts";
import type { Proof } from "../port/sending.ts";
import type { Topic } from "../topic.ts";

/** `openTally({ publish })`: how publishing behaves, for every topic. */
export interface PublishPolicyOptions {
  /** Messages without a final verdict, at most; beyond it `publish()` waits. @default 2000 */
  readonly window?: number;
  /** Bytes of their bodies, at most. One message is always let in. @default 64 MiB */
  readonly windowBytes?: number;
  /**
   * A copy without a verdict for so long is overdue, and resent through a successor session. More than 10 s: a quorum
   * queue whose leader is frozen takes 6–8 s to elect another, and a resend before that only doubles.
   * @default "15s"
   */
  readonly confirmTimeout?: Duration;
  /** How long a caller waits at most; Kafka's `delivery.timeout.ms` has the same default. @default "120s" */
  readonly deadline?: Duration;
  /** Upper end of the first back-off before a resend; full jitter. @default "50ms" */
  readonly resendMin?: Duration;
  /** Upper end of every later one. @default "10s" */
  readonly resendMax?: Duration;
  /**
   * A topic of which so many resends in a row were not taken, for `breakerMin` or longer (nacks, flow control), is kept from
   * the broker, so that it does not hold the window that all topics share: with an outbox its messages are stored, else they
   * wait outside of the window until their deadlines. A declaration that fails counts for a fifth of so many, one that hangs
   * for all.
   * @default 20
   */
  readonly breakerAfter?: number;
  /** Such a topic is tried again, with one message, after about so long at first. @default "1s" */
  readonly breakerMin?: Duration;
  /** Upper end of every later wait. @default "30s" */
  readonly breakerMax?: Duration;
}

/** The resolved policy, in milliseconds, messages and bytes. */
export interface PublishPolicy {
  readonly window: number;
  readonly windowBytes: number;
  readonly confirmTimeout: number;
  readonly deadline: number;
  readonly resendMin: number;
  readonly resendMax: number;
  readonly breakerAfter: number;
  readonly breakerMin: number;
  readonly breakerMax: number;
}

export const PUBLISH_BOUNDS: Bounds<PublishPolicy> = {
  window: integer(2_000, 1, 1_000_000),
  windowBytes: integer(64 * 1024 * 1024, 1_024, 4 * 1024 ** 3),
  confirmTimeout: duration("15s", 100),
  deadline: duration("120s", 1, 24 * 3_600_000),
  resendMin: duration("50ms", 1, 60_000),
  resendMax: duration("10s", 1, 600_000),
  breakerAfter: integer(20, 1, 1_000_000),
  breakerMin: duration("1s", 1, 600_000),
  breakerMax: duration("30s", 1, 3_600_000),
};

export function resendBackoff(policy: PublishPolicy): Backoff {
  return { min: policy.resendMin, max: policy.resendMax };
}

/** Options of one `publish()`. `Tx` is the inbox's transaction, `never` without an inbox. */
export interface PublishOptions<Tx = unknown> {
  /** 1–255 bytes; give your own so that a repeated publish has one effect. @default a UUIDv7 */
  readonly id?: string;
  /** Overrides the topic's key function. 1–255 bytes. */
  readonly key?: string;
  /** Names of 1–128 bytes that do not begin with `tally-`; 64 KiB in all. @default none */
  readonly headers?: Readonly<Record<string, string>>;
  /** 1–255 bytes. @default that of `cause`, or its id; else none */
  readonly correlationId?: string;
  /** The message that this one follows from: sets correlation and causation ids and passes `traceparent` and `tracestate` on. */
  readonly cause?: Cause;
  /** Gives up waiting; the error's `mayArrive` says whether a copy may still take effect. */
  readonly signal?: AbortSignal;
  /** @default the policy's */
  readonly deadline?: Duration;
  /**
   * Handed out so long after the call, not before; to groups that are there then. A row in an outbox keeps when it is due.
   * At most `tally.traits.longestDelay`; refused as `unsupported` beyond it, for ordered topics, and
   * for topics that name no `groups`.
   * @default at once
   */
  readonly delay?: Duration;
  /** Raw properties for the adapter (RabbitMQ: `{ expiration, priority, routingKey, … }`). */
  readonly native?: Readonly<Record<string, unknown>>;
  /**
   * A `tx` handler's transaction: the message is sent if, and only if, it commits. The receipt says `stored` as soon as the
   * row is in the transaction, and is worth as much as that. Await it before the handler returns: a transaction whose
   * publishes failed, or are not done, fails.
   */
  readonly tx?: Tx;
}

/**
 * What core says of a message that it publishes itself: a dead letter keeps its producer, a copy for one group keeps all that
 * the message was. It stands above what the call's options give, and is not checked: it came over a broker already.
 */
export type Own = Partial<Omit<Outgoing, "topic" | "body">>;

/** How core publishes messages of its own. @throws as `publish()` does */
export type Publish = (
  topic: Topic<Uint8Array>,
  body: Uint8Array,
  options: PublishOptions,
  own: Own,
) => Promise<Receipt>;

/** What a handler's context has of the message it was called for. */
export interface Cause {
  readonly id: string | null;
  readonly correlationId: string | null;
  readonly headers: Readonly<Record<string, string>>;
}

/** What `publish()` resolves with. */
export interface Receipt {
  readonly id: string;
  /**
   * `confirmed`: the broker accepted it. `stored`: its row is fsynced in the outbox, and will be sent; with `tx`, it is in
   * the transaction, and is fsynced and sent if that commits. With this proof.
   */
  readonly state: "confirmed" | "stored";
  readonly proof: Proof;
}

/** One entry of `publishMany()`: options beside the body. */
export interface Publication<In, Tx = unknown> extends Omit<PublishOptions<Tx>, "signal" | "deadline"> {
  readonly body: In;
}
