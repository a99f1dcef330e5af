import type { Duration } from "../duration.ts";
import { TallyError } from "../error.ts";
import {
  assertRange,
  type Bounds,
  choice,
  duration,
  flag,
  integer,
  resolveOptions,
  type Rule,
  value,
} from "../policy.ts";
import type { Topic } from "../topic.ts";

/** Options of `tally.consumer(group, …)`. */
export interface ConsumerOptions {
  /** Handlers that run at the same time, at most; deliveries of one key never do. @default 16 */
  readonly lanes?: number;
  /**
   * Deliveries without a settlement for each topic, at most; at least `lanes`. What they may hold in memory is the credit
   * times the topic's largest body.
   * @default as many of the topic's largest body as 256 MiB hold, but no fewer than 2 × lanes and 32, and no more than the
   * greater of 100 and 4 × lanes
   */
  readonly credit?: number;
  /**
   * Attempts in place before a delivery comes again later as a delayed copy (where the broker delays none: is released for
   * redelivery), or its ordered key is parked.
   * @default 3
   */
  readonly attempts?: number;
  /** Upper end of the first wait between attempts; full jitter. @default "100ms" */
  readonly retryMin?: Duration;
  /**
   * Upper end of every later one, of the delay of a copy, and of the wait before a release. Those two grow with how often
   * the message came.
   * @default "10s"
   */
  readonly retryMax?: Duration;
  /**
   * A handler that has not settled by then gets its signal fired, and the attempt counts as failed (`handler-deadline`).
   * Nobody can end it, so it keeps its lane, and its key's next delivery waits, until it does settle: let it heed the signal.
   * Its delivery is not tried again in place meanwhile, whatever is ruled, but released after a back-off; of an ordered topic, it
   * stays in hand.
   * What it returns then is an event (`late-effect`) and acks nothing.
   * @default "60s"
   */
  readonly processingDeadline?: Duration;
  /**
   * What the inbox does for a handler.
   * - `"marked"`: claim, run, mark, ack. A process that dies between effect and mark has the effect again.
   * - `"none"`: no inbox; each redelivery runs.
   * - `"tx"`: see {@link TxConsumerOptions}.
   * @default "marked" with an inbox, else "none"
   */
  readonly effect?: "none" | "marked";
  /**
   * How long a claim lasts; renewed at half of it while the handler is at work. A message whose consumer was killed waits
   * so long before it runs again, and a process that stands still for longer loses its claims.
   * @default "15s"
   */
  readonly lease?: Duration;
  /**
   * Started deliveries of one message, over crashes, releases and delayed copies, after which it is a dead letter, or its
   * ordered key is parked. Counted in the inbox, durably, before each start; without an inbox only the copies are counted.
   * @default 16
   */
  readonly maxAttempts?: number;
  /**
   * What a failed attempt leads to; it alone decides, also beyond `attempts`. A body that cannot be read (`decode`,
   * `schema`) is not tried again at once whatever it says, since the same bytes would fail again. If it throws, or rules
   * what is not possible here, that is surfaced, and the delivery is released; one of an ordered key has the default.
   * @default retry() up to `attempts`, then delay(), or release() where the broker delays none. With an ordered key and an
   * inbox: then park(). With an ordered key and no inbox: in place for ever, at most `retryMax` apart, since nothing of the
   * key may overtake it. A body that cannot be read counts as if its attempts were used up; where there is an inbox and no
   * ordered key it is deadLetter()
   */
  readonly onError?: (
    error: TallyError<"handler" | "handler-deadline" | "decode" | "schema">,
    about: Failure,
  ) => Ruling;
  /**
   * Pauses the subscription of a topic whose bodies cannot be read (`decode`, `schema`): the first 20 all, or half of the
   * last 100. It gives back what it has and leaves the topic (`subscription-paused`) until `resume()`, so that a wrong schema
   * does not empty the queue into the dead letters. A body that comes again is not counted again, so where
   * such bodies are released (without an inbox), fewer than 20 of credit never lead to it: they are what comes again.
   * @default true
   */
  readonly schemaGuard?: boolean;
  /** Id of a foreign message, which has none of its own. Never made from the body: two equal payments are two. */
  readonly id?: (message: Omit<Context, "signal" | "attempt">) => string;
}

/** Options of a consumer whose handlers get the inbox's transaction. */
export interface TxConsumerOptions extends Omit<ConsumerOptions, "effect"> {
  /**
   * Effect and mark are one transaction of the inbox's database, and the handler's context has its `tx`: once, whatever
   * crashes. What the handler does elsewhere (mail, HTTP) may happen again: after a crash, and when a handler that shares its
   * transaction failed and this one had read what that wrote.
   */
  readonly effect: "tx";
}

/** What `onError` is told beside the error; `error.cause` is what the handler threw. */
export interface Failure {
  /** 1, 2, …: in place, of this delivery. */
  readonly attempt: number;
  /** How often the message was delayed before, 0 at first: each delayed copy starts again with attempts and deliveries. */
  readonly delays: number;
  /** Deliveries so far as the broker counts them; null where it does not. */
  readonly deliveries: number | null;
  readonly topic: string;
  readonly id: string | null;
}

/** See `effect` of {@link ConsumerOptions} and {@link TxConsumerOptions}. */
export type Effect = "none" | "marked" | "tx";

/**
 * What becomes of a failed attempt: again in place, again later as a delayed copy, back to the broker for redelivery, given up,
 * or parked with its key.
 */
export type Ruling =
  | { readonly kind: "retry"; readonly afterMs: number | null }
  | { readonly kind: "delay"; readonly afterMs: number | null }
  | { readonly kind: "release"; readonly afterMs: number | null }
  | { readonly kind: "deadLetter"; readonly reason: string | null }
  | { readonly kind: "park"; readonly reason: string | null };

/** What a handler gets beside the body. */
export interface Context {
  readonly topic: string;
  readonly group: string;
  /** The publisher's id, or what `options.id` made of a foreign message; null where neither gave one. */
  readonly id: string | null;
  readonly key: string | null;
  /** The `service` that published it. */
  readonly producer: string | null;
  readonly type: string | null;
  /** Wall-clock milliseconds of the `publish()`; null from a foreign sender. */
  readonly time: number | null;
  readonly correlationId: string | null;
  readonly causationId: string | null;
  /** The caller's, without Tally's own; without a prototype. */
  readonly headers: Readonly<Record<string, string>>;
  /** 1, 2, …: in place, of this delivery. */
  readonly attempt: number;
  /** Deliveries so far as the broker counts them; null where it does not. */
  readonly deliveries: number | null;
  /** Fires at the processing deadline and when a close runs out of time. */
  readonly signal: AbortSignal;
  /** The driver's own message. */
  readonly native: unknown;
}

/** What a handler of a `tx` consumer gets beside the body. */
export interface TxContext<Tx> extends Context {
  /** The transaction that the mark is written in. Whatever is written through it takes effect once, or not at all. */
  readonly tx: Tx;
}

/** Returning settles the delivery with an ack; throwing asks `onError`. */
export type Handler<Out, C extends Context = Context> = (body: Out, context: C) => Promise<void> | void;

/** A consumer that has not been started. Made by `tally.consumer()`. */
export interface ConsumerBuilder<C extends Context = Context> {
  /** One handler a topic. @throws TallyError `bad-config` */
  on<Out>(topic: Topic<never, Out>, handler: Handler<Out, C>): ConsumerBuilder<C>;
  /**
   * Declares, subscribes, and resolves when deliveries may come. Reconnects by itself from then on.
   * @throws TallyError `bad-config` (no handler; started before; above `memory.max`; an inbox that forgets too early, or is not
   * the group's), `closed`, `unsafe` (under `durability: "enforce"`), and what waiting cannot mend: `topology`, `unauthorized`,
   * `unsupported` (what broker or inbox cannot do) …
   */
  start(): Promise<Consumer>;
}

/** A running member of a group: one session for each topic. Made by `.start()`; `await using` closes it. */
export interface Consumer extends AsyncDisposable {
  readonly group: string;
  /** No new handler starts, nor another attempt; those running finish. Deliveries in hand keep their credit meanwhile. */
  pause(): void;
  /** Handlers start again; a topic that its schema has paused (`schemaGuard`) is subscribed to again, with another sample. */
  resume(): void;
  /**
   * Stops deliveries, lets running handlers finish, settles, leaves. What has not begun comes again elsewhere. At the limit
   * signals fire, and what is unfinished is left unsettled. Idempotent.
   * @param options.within @default "30s"
   * @throws TallyError `bad-config` for a limit that is no duration; nothing is closed then
   */
  close(options?: { readonly within?: Duration }): Promise<void>;
}

/** The resolved options: milliseconds and counts; null where the consumer's own way is taken. */
export interface ConsumerPolicy extends Required<
  Omit<
    ConsumerOptions,
    "effect" | "credit" | "retryMin" | "retryMax" | "processingDeadline" | "lease" | "onError" | "id"
  >
> {
  readonly effect: Effect;
  readonly lease: number;
  /** Null: follows from the topic. */
  readonly credit: number | null;
  readonly retryMin: number;
  readonly retryMax: number;
  readonly processingDeadline: number;
  readonly onError: NonNullable<ConsumerOptions["onError"]> | null;
  readonly id: NonNullable<ConsumerOptions["id"]> | null;
}

// AMQP writes a credit in 16 bits.
const MOST_CREDIT = 65_535;
const credit: Rule<number | null> = { default: null, read: integer(1, 1, MOST_CREDIT).read };

const effect: Rule<Effect | null> = { default: null, read: choice<Effect>("none", "marked", "tx").read };

const CONSUMER_BOUNDS: Bounds<Omit<ConsumerPolicy, "effect"> & { readonly effect: Effect | null }> = {
  effect,
  lease: duration("15s", 1_000, 3_600_000),
  maxAttempts: integer(16, 1, 1_000_000),
  lanes: integer(16, 1, 10_000),
  credit,
  attempts: integer(3, 1, 1_000),
  retryMin: duration("100ms", 1, 600_000),
  retryMax: duration("10s", 1, 3_600_000),
  processingDeadline: duration("60s", 1, 24 * 3_600_000),
  schemaGuard: flag(true),
  onError: value(null, "a function", (v): v is NonNullable<ConsumerOptions["onError"]> => typeof v === "function"),
  id: value(
    null,
    "a function from message to id",
    (v): v is NonNullable<ConsumerOptions["id"]> => typeof v === "function",
  ),
};

/**
 * @param inbox Whether there is one.
 * @throws TallyError `bad-config`
 */
export function resolveConsumer(
  where: string,
  options: ConsumerOptions | TxConsumerOptions | undefined,
  inbox: boolean,
): ConsumerPolicy {
  const o = resolveOptions(where, options, CONSUMER_BOUNDS);
  if (!inbox && o.effect !== null && o.effect !== "none")
    throw new TallyError(
      "bad-config",
      `${where}: effect ${JSON.stringify(o.effect)} needs an inbox: give one to openTally`,
    );
  if (o.credit !== null && o.credit < o.lanes) {
    throw new TallyError(
      "bad-config",
      `${where}: credit (${o.credit}) must be at least lanes (${o.lanes}), or some lanes would never run`,
    );
  }
  assertRange(where, o, "retryMin", "retryMax");
  return Object.freeze({
    ...o,
    effect: o.effect ?? (inbox ? "marked" : "none"),
  });
}
