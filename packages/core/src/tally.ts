import type { AuditReport } from "./audit/report.ts";
import type { ConsumerBuilder, ConsumerOptions, TxConsumerOptions, TxContext } from "./consume/options.ts";
import type { DeadLetterQueue } from "./dead-letters/queue.ts";
import type { Duration } from "./duration.ts";
import type { TallyError } from "./error.ts";
import type { Half, HalfOptions } from "./half/options.ts";
import type { Counters, Listener } from "./events.ts";
import type { Health } from "./health/report.ts";
import type { Parked } from "./park/parked.ts";
import type { Publication, PublishOptions, Receipt } from "./publish/options.ts";
import type { Traits } from "./port/transport.ts";
import type { Topic } from "./topic.ts";

/**
 * One service's connection to a broker. Made by `openTally()`.
 *
 * `Tx` is the inbox's transaction, `never` without an inbox; `Tally` without it is any tally.
 */
export interface Tally<Tx = unknown> extends AsyncDisposable {
  readonly service: string;
  /** 128 random bits, hex: this `openTally()`. */
  readonly run: string;
  /** What this broker does differently from others. */
  readonly traits: Traits;
  /**
   * Resolves when the broker has accepted the message, with the proof in its receipt, or when its row is fsynced in the
   * outbox. The body is a snapshot: what is done to the object after the call changes nothing. While the window is full, it waits.
   *
   * Rejects with a TallyError; its `mayArrive` says whether a copy may still take effect.
   * @throws TallyError `bad-message`, `schema`, `too-large`, `bad-config`, `unsupported`, `conflict` (the id is in flight with another
   * body): nothing has left · `unroutable`, `refused`, `topology`: the broker's answer · `store`, `store-full`: the outbox's ·
   * `aborted`, `deadline`, `closed`: given up · with `tx`: `store` also when the transaction is over, `later` when earlier
   * messages of its ordered key are on their way outside of the transaction: let the handler be tried again
   */
  publish<In>(topic: Topic<In, unknown>, body: NoInfer<In>, options?: PublishOptions<Tx>): Promise<Receipt>;
  /**
   * One receipt or error for each entry, in their order; never rejects half-way. `signal`, `deadline` and `tx` hold for each.
   * @throws TallyError `bad-config` for entries that are no list
   */
  publishMany<In>(
    topic: Topic<In, unknown>,
    entries: readonly Publication<NoInfer<In>, Tx>[],
    options?: Pick<PublishOptions<Tx>, "signal" | "deadline" | "tx">,
  ): Promise<readonly (Receipt | TallyError)[]>;
  /**
   * A member of a group, 1–120 bytes; `.on(topic, handler)` for each topic, then `.start()`.
   * @throws TallyError `bad-config`, `closed`
   */
  consumer(group: string, options: [Tx] extends [never] ? never : TxConsumerOptions): ConsumerBuilder<TxContext<Tx>>;
  consumer(group: string, options?: ConsumerOptions): ConsumerBuilder;
  /** What waits for a person: ordered keys whose head failed, and rows of the outbox that nobody takes. */
  readonly parked: Parked;
  /**
   * What a group of this topic has given up: to list, replay and purge.
   * @throws TallyError `bad-config`, `closed`
   */
  deadLetters(topic: Topic<never, unknown>, group: string): DeadLetterQueue;
  /**
   * How it goes, for a probe or a person: see {@link Health}. Cheap: a look at memory, and one short question to each store.
   * Never rejects, and takes no longer than `health.answerWithin` (2 s).
   */
  health(): Promise<Health>;
  /**
   * Looks at how safely the broker keeps what this tally publishes and consumes, and gives a list of what stands against the
   * promises, each with its severity, why, and the exact fix: see docs/audit.md. Changes nothing. A look is taken at each start
   * as well (`durability`).
   * @throws TallyError `closed`
   */
  audit(): Promise<AuditReport>;
  /**
   * Declares a kind of half message, 1–120 bytes, at start: whoever declares it knows how to check those of a process that
   * died, a restarted one and every other instance of the service. Kept in the outbox.
   * @throws TallyError `bad-config`, `closed`; `unsupported` without an outbox that keeps half messages
   */
  half<In, Out>(name: string, options: HalfOptions<In, Out>): Half<In>;
  /**
   * Every event from now on, called synchronously; what it throws, or rejects with, is dropped. Returns what takes the listener off.
   * @throws TallyError `bad-config` for what is no function
   */
  on(listener: Listener): () => void;
  /** How often each event happened so far: a copy. */
  counters(): Counters;
  /**
   * Consumers stop and their handlers finish (and may still publish), then half messages whose work is under way; then
   * publishing stops and the window drains. What is left at the limit is stored where there is an outbox, else it rejects
   * `closed`, with `mayArrive`. Then the relay gives up its lease, sessions end, and the stores close last, the outbox behind the
   * inbox. Idempotent. `await using` closes with the default.
   * @param options.within Limit for all of it; what is then left, sessions and stores, is given a second each to say
   * good-bye. @default "30s"
   * @throws TallyError `bad-config` for a limit that is no duration
   */
  close(options?: { readonly within?: Duration }): Promise<void>;
}
