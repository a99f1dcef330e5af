import type { ConsumerBuilder, ConsumerOptions } from "./consume/options.ts";
import type { Duration } from "./duration.ts";
import type { TallyError } from "./error.ts";
import type { Counters, Listener } from "./events.ts";
import type { Publication, PublishOptions, PublishPolicyOptions, Receipt } from "./publish/options.ts";
import type { Broker, Traits } from "./spi.ts";
import type { Topic } from "./topic.ts";

/** Options of {@link openTally}; all optional but `service` and `broker`. */
export interface TallyOptions {
  /** Whose ids these are: the same in every instance and after restarts. 1–120 bytes. */
  readonly service: string;
  /** `rabbitmq({…})`, or testkit's `memory()`. */
  readonly broker: Broker;
  /** Topics to declare at once instead of at their first use; and a first session is awaited. @default [] */
  readonly topics?: readonly Topic<never, unknown>[];
  readonly publish?: PublishPolicyOptions;
  /** Between tries to open a session: full jitter up to `min`, doubling up to `max`. */
  readonly reconnect?: { readonly min?: Duration; readonly max?: Duration };
  /** One try to open a session. @default "10s" */
  readonly connectWithin?: Duration;
  /** Called for every event, as `on()` does. */
  readonly onEvent?: Listener;
}

/** One service's connection to a broker. Made by {@link openTally}. */
export interface Tally extends AsyncDisposable {
  readonly service: string;
  readonly run: string;
  readonly traits: Traits;
  /**
   * Resolves when the broker has accepted the message, with the proof in its receipt.
   * @throws TallyError; `mayArrive` says whether a copy may still take effect.
   */
  publish<In>(topic: Topic<In, unknown>, body: NoInfer<In>, options?: PublishOptions): Promise<Receipt>;
  /** One receipt or error for each entry, in their order; never rejects half-way. */
  publishMany<In>(topic: Topic<In, unknown>, entries: readonly Publication<NoInfer<In>>[], options?: Pick<PublishOptions, "signal" | "deadline">): Promise<readonly (Receipt | TallyError)[]>;
  /** A member of a group; `.on(topic, handler)` for each topic, then `.start()`. */
  consumer(group: string, options?: ConsumerOptions): ConsumerBuilder;
  /** Every event from now on; returns what takes the listener off. */
  on(listener: Listener): () => void;
  counters(): Counters;
  /**
   * Consumers stop and their handlers finish (and may still publish), then publishing stops and the window drains. What is
   * left at the limit rejects `closed`, with `mayArrive`. Idempotent. `await using` closes with the default.
   * @param options.within Limit for all of it. @default "30s"
   */
  close(options?: { readonly within?: Duration }): Promise<void>;
}
