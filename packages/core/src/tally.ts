import { createConsumerBuilder } from "./consume/consumer.ts";
import type { ConsumerPorts } from "./consume/ports.ts";
import type { Consumer, ConsumerBuilder, ConsumerOptions, TxConsumerOptions, TxContext } from "./consume/options.ts";
import { type Duration, milliseconds } from "./duration.ts";
import { TallyError } from "./error.ts";
import { type Counters, createEvents, type Listener } from "./events.ts";
import { randomId } from "./ids.ts";
import { nodePlatform, type Platform } from "./platform/node.ts";
import { type Bounds, duration, resolveOptions, text, value } from "./policy.ts";
import {
  type Publication,
  PUBLISH_BOUNDS,
  type PublishOptions,
  type PublishPolicyOptions,
  type Receipt,
} from "./publish/options.ts";
import { Publisher } from "./publish/publisher.ts";
import type { Runtime } from "./runtime.ts";
import type { Broker, Traits } from "./spi.ts";
import type { InboxSpec, InboxStore } from "./stores.ts";
import type { Topic } from "./topic.ts";

/** Options of {@link openTally}; all optional but `service` and `broker`. */
export interface TallyOptions<Tx = never> {
  /** Whose ids these are: the same in every instance and after restarts. 1–120 bytes. */
  readonly service: string;
  /** `rabbitmq({…})`, or testkit's `memory()`. */
  readonly broker: Broker;
  /** What remembers the effects of consumers, so that a redelivery has none: `sqlite(path)` … @default none */
  readonly inbox?: InboxSpec<Tx>;
  /** Topics to declare with the first session instead of at their first use. @default [] */
  readonly topics?: readonly Topic<never, unknown>[];
  readonly publish?: PublishPolicyOptions;
  /** Between tries to open a session: full jitter up to `min`, doubling up to `max`. */
  readonly reconnect?: { readonly min?: Duration; readonly max?: Duration };
  /** One try to open a session. @default "10s" */
  readonly connectWithin?: Duration;
  /** Called for every event, as `on()` does. */
  readonly onEvent?: Listener;
}

/**
 * One service's connection to a broker. Made by {@link openTally}.
 *
 * `Tx` is the inbox's transaction, `never` without an inbox; `Tally` without it is any tally.
 */
export interface Tally<Tx = unknown> extends AsyncDisposable {
  readonly service: string;
  readonly run: string;
  readonly traits: Traits;
  /**
   * Resolves when the broker has accepted the message, with the proof in its receipt.
   * @throws TallyError; `mayArrive` says whether a copy may still take effect.
   */
  publish<In>(topic: Topic<In, unknown>, body: NoInfer<In>, options?: PublishOptions): Promise<Receipt>;
  /** One receipt or error for each entry, in their order; never rejects half-way. */
  publishMany<In>(
    topic: Topic<In, unknown>,
    entries: readonly Publication<NoInfer<In>>[],
    options?: Pick<PublishOptions, "signal" | "deadline">,
  ): Promise<readonly (Receipt | TallyError)[]>;
  /**
   * A member of a group; `.on(topic, handler)` for each topic, then `.start()`.
   * @throws TallyError `bad-config`
   */
  consumer(group: string, options: [Tx] extends [never] ? never : TxConsumerOptions): ConsumerBuilder<TxContext<Tx>>;
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

interface Resolved {
  readonly service: string;
  readonly broker: Broker | null;
  readonly inbox: InboxSpec<unknown> | null;
  readonly topics: readonly Topic<never, unknown>[];
  readonly publish: PublishPolicyOptions;
  readonly reconnect: { readonly min?: Duration; readonly max?: Duration };
  readonly connectWithin: number;
  readonly onEvent: Listener | null;
}

const isObject = (v: unknown): v is object => typeof v === "object" && v !== null;

const BOUNDS: Bounds<Resolved> = {
  service: text("", 120),
  broker: value<Broker | null>(
    null,
    "a broker: rabbitmq({…}), memory() …",
    (v): v is Broker => isObject(v) && typeof (v as Broker).open === "function",
  ),
  inbox: value<InboxSpec<unknown> | null>(
    null,
    "an inbox: sqlite(path) …",
    (v): v is InboxSpec<unknown> => isObject(v) && typeof (v as InboxSpec<unknown>).openInbox === "function",
  ),
  topics: value<readonly Topic<never, unknown>[]>([], "a list of topics", (v): v is readonly Topic<never, unknown>[] =>
    Array.isArray(v),
  ),
  publish: value<PublishPolicyOptions>({}, "an object of options", isObject),
  reconnect: value<Resolved["reconnect"]>({}, "an object of options", isObject),
  connectWithin: duration("10s", 100, 600_000),
  onEvent: value<Listener | null>(null, "a function", (v): v is Listener => typeof v === "function"),
};

const RECONNECT_BOUNDS: Bounds<{ readonly min: number; readonly max: number }> = {
  min: duration("100ms", 1, 60_000),
  max: duration("5s", 1, 600_000),
};

/**
 * Opens a service's connection to a broker. Resolves when the first session is open, or when the first try has failed in a
 * way that waiting can mend (broker away): then it goes on trying, and publishes wait.
 * @param platform Clock, randomness and diagnostics; tests give their own.
 * @throws TallyError `bad-config`, `store`, and `unauthorized` or whatever else waiting cannot mend.
 */
export async function openTally<Tx = never>(
  options: TallyOptions<Tx>,
  platform: Platform = nodePlatform(),
): Promise<Tally<Tx>> {
  const o = resolveOptions<Resolved>("openTally", options, BOUNDS);
  const { service, broker } = o;
  if (service === "")
    throw new TallyError(
      "bad-config",
      "openTally: service must be given: the name whose ids these are, the same after a restart",
    );
  if (broker === null) throw new TallyError("bad-config", "openTally: broker must be given: rabbitmq({…}), memory() …");
  const policy = resolveOptions("openTally: publish", o.publish, PUBLISH_BOUNDS);
  const reconnect = resolveOptions("openTally: reconnect", o.reconnect, RECONNECT_BOUNDS);
  const { clock, random } = platform;
  const events = createEvents(
    () => clock.wall(),
    (event) => platform.diagnose(event),
  );
  if (o.onEvent !== null) events.on(o.onEvent);
  const run = randomId(random);
  const inbox =
    o.inbox === null
      ? null
      : await o.inbox.openInbox({
          clock,
          random,
          surfaced: (text) => events.emit({ type: "surfaced", what: "inbox", text }),
        });
  const transport = broker.open({ service, run, clock, random });
  const runtime: Runtime = {
    service,
    run,
    clock,
    random,
    events,
    transport,
    reconnect,
    connectWithin: o.connectWithin,
  };
  const publisher = new Publisher(runtime, policy, o.topics);
  const tally = createTally<Tx>(runtime, publisher, inbox);
  try {
    await publisher.first;
  } catch (error) {
    await tally.close({ within: 1 });
    throw error;
  }
  return tally;
}

function createTally<Tx>(runtime: Runtime, publisher: Publisher, inbox: InboxStore<unknown> | null): Tally<Tx> {
  const consumers = new Set<Consumer>();
  const ports: ConsumerPorts = {
    inbox,
    publish: (topic, body, options, producer) => publisher.publish(topic, body, options, producer),
  };
  let closing: Promise<void> | null = null;

  async function close(within: number): Promise<void> {
    const limit = runtime.clock.now() + within;
    const left = (): number => Math.max(1, Math.ceil(limit - runtime.clock.now()));
    // Consumers first: their handlers may still publish, and what they publish still drains.
    await Promise.all([...consumers].map((consumer) => consumer.close({ within: left() })));
    const abandoned = await publisher.close(left());
    await runtime.transport[Symbol.asyncDispose]();
    await inbox?.[Symbol.asyncDispose]();
    runtime.events.emit({ type: "closed", abandoned });
  }

  return {
    service: runtime.service,
    run: runtime.run,
    traits: runtime.transport.traits,
    publish: (topic, body, options) => publisher.publish(topic, body, options),
    publishMany: (topic, entries, shared) =>
      Promise.all(
        entries.map(({ body, ...own }) =>
          publisher.publish(topic, body, { ...own, ...shared }).catch((error: TallyError) => error),
        ),
      ),
    consumer(group: string, options?: ConsumerOptions | TxConsumerOptions): ConsumerBuilder<never> {
      if (closing !== null) throw new TallyError("closed", "consumer() after close()");
      return createConsumerBuilder(
        runtime,
        ports,
        group,
        options,
        (c) => void consumers.add(c),
        (c) => void consumers.delete(c),
      ) as ConsumerBuilder<never>;
    },
    on: (listener) => runtime.events.on(listener),
    counters: () => runtime.events.counters(),
    close: (options) => (closing ??= close(milliseconds("close: within", options?.within ?? "30s"))),
    async [Symbol.asyncDispose]() {
      await this.close();
    },
  };
}
