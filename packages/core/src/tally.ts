import type { ConsumerPorts } from "./consume/ports.ts";
import { createConsumerBuilder } from "./consume/consumer.ts";
import { atMost } from "./clock.ts";
import type { Consumer, ConsumerBuilder, ConsumerOptions, TxConsumerOptions, TxContext } from "./consume/options.ts";
import { type Duration, milliseconds } from "./duration.ts";
import { describe, TallyError } from "./error.ts";
import { type Counters, createEvents, type Listener } from "./events.ts";
import { randomId } from "./ids.ts";
import { nodePlatform, type Platform } from "./platform/node.ts";
import { SPILL_BOUNDS, type SpillPolicyOptions } from "./outbox/options.ts";
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
import type { InboxSpec, InboxStore, OutboxSpec, OutboxStore, StoreHost } from "./stores.ts";
import type { Topic } from "./topic.ts";

/** Options of {@link openTally}; all optional but `service` and `broker`. */
export interface TallyOptions<Tx = never> {
  /** Whose ids these are: the same in every instance and after restarts. 1–120 bytes. */
  readonly service: string;
  /** `rabbitmq({…})`, or testkit's `memory()`. */
  readonly broker: Broker;
  /** Where messages go while the broker cannot be reached: `sqlite(path)` … @default none */
  readonly outbox?: OutboxSpec;
  /** How the outbox takes over. @default the defaults of {@link SpillPolicyOptions} */
  readonly spill?: SpillPolicyOptions;
  /** What remembers the effects of consumers, so that a redelivery has none: `sqlite(path)` … @default none */
  readonly inbox?: InboxSpec<Tx>;
  /** Topics to declare with the first session instead of at their first use. @default [] */
  readonly topics?: readonly Topic<never, unknown>[];
  /** How publishing behaves. @default the defaults of {@link PublishPolicyOptions} */
  readonly publish?: PublishPolicyOptions;
  /**
   * Wait between tries to open a session: full jitter up to `min`, doubling up to `max`; for publisher and consumers alike.
   * @default min "100ms", max "5s"
   */
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
  /** 128 random bits, hex: this `openTally()`. */
  readonly run: string;
  /** What this broker does differently from others. */
  readonly traits: Traits;
  /**
   * Resolves when the broker has accepted the message, with the proof in its receipt. The body is a snapshot: what is done
   * to the object after the call changes nothing. While the window is full, it waits.
   *
   * Rejects with a TallyError; its `mayArrive` says whether a copy may still take effect.
   * @throws TallyError `bad-message`, `schema`, `too-large`, `bad-config`, `conflict` (the id is in flight with another
   * body): nothing has left · `unroutable`, `refused`, `topology`: the broker's answer · `aborted`, `deadline`, `closed`: given up
   */
  publish<In>(topic: Topic<In, unknown>, body: NoInfer<In>, options?: PublishOptions): Promise<Receipt>;
  /** One receipt or error for each entry, in their order; never rejects half-way. `signal` and `deadline` hold for each. */
  publishMany<In>(
    topic: Topic<In, unknown>,
    entries: readonly Publication<NoInfer<In>>[],
    options?: Pick<PublishOptions, "signal" | "deadline">,
  ): Promise<readonly (Receipt | TallyError)[]>;
  /**
   * A member of a group, 1–120 bytes; `.on(topic, handler)` for each topic, then `.start()`.
   * @throws TallyError `bad-config`, `closed`
   */
  consumer(group: string, options: [Tx] extends [never] ? never : TxConsumerOptions): ConsumerBuilder<TxContext<Tx>>;
  consumer(group: string, options?: ConsumerOptions): ConsumerBuilder;
  /** Every event from now on, called synchronously; what it throws is dropped. Returns what takes the listener off. */
  on(listener: Listener): () => void;
  /** How often each event happened so far: a copy. */
  counters(): Counters;
  /**
   * Consumers stop and their handlers finish (and may still publish), then publishing stops and the window drains. What is
   * left at the limit rejects `closed`, with `mayArrive`. Idempotent. `await using` closes with the default.
   * @param options.within Limit for all of it. @default "30s"
   * @throws TallyError `bad-config` for a limit that is no duration
   */
  close(options?: { readonly within?: Duration }): Promise<void>;
}

/** Milliseconds: a close that used up all its time still says good-bye to the broker. */
const LEAVE_WITHIN = 1_000;

interface Resolved {
  readonly service: string;
  readonly broker: Broker | null;
  readonly inbox: InboxSpec<unknown> | null;
  readonly outbox: OutboxSpec | null;
  readonly spill: SpillPolicyOptions;
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
  outbox: value<OutboxSpec | null>(
    null,
    "an outbox: sqlite(path) …",
    (v): v is OutboxSpec => isObject(v) && typeof (v as OutboxSpec).openOutbox === "function",
  ),
  spill: value<SpillPolicyOptions>({}, "an object of options", isObject),
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
  const host = (what: string): StoreHost => ({
    clock,
    random,
    surfaced: (text) => events.emit({ type: "surfaced", what, text }),
  });
  const spill = resolveOptions("openTally: spill", o.spill, SPILL_BOUNDS);
  const inbox = (await o.inbox?.openInbox(host("inbox"))) ?? null;
  const outbox = (await o.outbox?.openOutbox(host("outbox"))) ?? null;
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
  const publisher = new Publisher(runtime, policy, o.topics, outbox === null ? null : { store: outbox, policy: spill });
  const tally = createTally<Tx>(runtime, publisher, inbox, outbox);
  try {
    await publisher.first;
  } catch (error) {
    await tally.close({ within: 1 });
    throw error;
  }
  return tally;
}

function createTally<Tx>(
  runtime: Runtime,
  publisher: Publisher,
  inbox: InboxStore<unknown> | null,
  outbox: OutboxStore | null,
): Tally<Tx> {
  const consumers = new Set<Consumer>();
  const ports: ConsumerPorts = {
    inbox,
    publish: (topic, body, options, producer) => publisher.publish(topic, body, options, producer),
  };
  let closing: Promise<void> | null = null;

  async function close(within: number): Promise<void> {
    const limit = runtime.clock.now() + within;
    const left = (): number => Math.max(1, Math.ceil(limit - runtime.clock.now()));
    // Consumers first: their handlers may still publish, and what they publish still drains. One that fails to close must
    // not keep the rest open.
    await Promise.allSettled([...consumers].map((consumer) => consumer.close({ within: left() })));
    const abandoned = await publisher.close(left());
    const leaving = (async () => runtime.transport[Symbol.asyncDispose]())().catch((thrown: unknown) =>
      runtime.events.emit({
        type: "surfaced",
        what: runtime.transport.name,
        text: `did not close: ${describe(thrown)}`,
      }),
    );
    await atMost(runtime.clock, Math.max(left(), LEAVE_WITHIN), leaving);
    await inbox?.[Symbol.asyncDispose]();
    await outbox?.[Symbol.asyncDispose]();
    runtime.events.emit({ type: "closed", abandoned });
  }

  function assertOpen(call: string): void {
    if (closing !== null) throw new TallyError("closed", `${call} after close()`);
  }

  return {
    service: runtime.service,
    run: runtime.run,
    traits: runtime.transport.traits,
    publish: (topic, body, options) => publisher.publish(topic, body, options),
    publishMany: (topic, entries, shared) =>
      Promise.all(
        entries.map((entry) => {
          // What is no entry at all has no body, and gets the error for that: the others are not to suffer for it.
          const { body, ...own } = entry ?? {};
          return publisher.publish(topic, body, { ...own, ...shared }).catch((error: TallyError) => error);
        }),
      ),
    consumer(group: string, options?: ConsumerOptions | TxConsumerOptions): ConsumerBuilder<never> {
      assertOpen("consumer()");
      const started = (consumer: Consumer): void => {
        assertOpen("start()"); // the builder may be older than the close
        consumers.add(consumer);
      };
      return createConsumerBuilder(
        runtime,
        ports,
        group,
        options,
        started,
        (consumer) => void consumers.delete(consumer),
      ) as ConsumerBuilder<never>;
    },
    on: (listener) => runtime.events.on(listener),
    counters: () => runtime.events.counters(),
    close(options) {
      try {
        return (closing ??= close(milliseconds("close: within", options?.within ?? "30s")));
      } catch (thrown) {
        return Promise.reject(thrown);
      }
    },
    async [Symbol.asyncDispose]() {
      await this.close();
    },
  };
}
