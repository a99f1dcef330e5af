import type { Durability } from "./audit/report.ts";
import type { Duration } from "./duration.ts";
import { TallyError } from "./error.ts";
import type { Listener } from "./events.ts";
import { SPILL_BOUNDS, type SpillPolicy, type SpillPolicyOptions } from "./outbox/options.ts";
import { HEALTH_BOUNDS, type HealthOptions, type HealthPolicy } from "./health/options.ts";
import {
  assertRange,
  type Bounds,
  choice,
  duration,
  integer,
  resolveOptions,
  type Rule,
  text,
  value,
} from "./policy.ts";
import { PUBLISH_BOUNDS, type PublishPolicy, type PublishPolicyOptions } from "./publish/options.ts";
import type { Backoff } from "./backoff.ts";
import type { Broker } from "./port/transport.ts";
import type { InboxSpec, OutboxSpec } from "./stores.ts";
import { isTopic, type Topic } from "./topic.ts";

/** Options of `openTally()`; all optional but `service` and `broker`. */
export interface TallyOptions<Tx = never> {
  /** Whose ids these are: the same in every instance and after restarts. 1–120 bytes. */
  readonly service: string;
  /** `rabbitmq({…})`, `kafka({…})`, `rocketmq({…})`, or testkit's `memory()`. */
  readonly broker: Broker;
  /** Where messages go while the broker cannot be reached: `sqlite(path)` … @default none */
  readonly outbox?: OutboxSpec;
  /** How the outbox takes over. @default the defaults of {@link SpillPolicyOptions} */
  readonly spill?: SpillPolicyOptions;
  /** What remembers the effects of consumers, so that a redelivery has none: `sqlite(path)` … @default none */
  readonly inbox?: InboxSpec<Tx>;
  /**
   * Topics to declare with the first session instead of at their first use. One that contradicts what is on the broker, or
   * is not there where it should be, rejects `openTally()`. @default []
   */
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
  /**
   * Bounds what is held of messages: the publish window, what stores take, and for each topic of a consumer its credit times
   * the topic's largest body. A sum above `max` (bytes) is refused: here, or at a consumer's `start()`. The event
   * `memory-bound` says the sum. @default no bound
   */
  readonly memory?: { readonly max?: number };
  /**
   * What the audit of a start (`openTally()` with its `topics`, a consumer's `start()`) leads to. `warn`: each finding is the
   * event `audit-finding`, and stands in `health()`; nobody waits for it. `enforce`: errors among them reject (`unsafe`, all in
   * one). `off`: nobody looks but `audit()`.
   *
   * Also when members of a group have different inboxes, so that neither knows what the other has done: a file on
   * each machine's own disk, say. `warn`: the event `inbox-differs`. `enforce`: a consumer's `start()` rejects (`bad-config`)
   * beside such a member, and waits half a second for the others to show themselves. `off`: nobody looks.
   * @default "warn"
   */
  readonly durability?: Durability;
  /** From when on `health()` says that something is wrong. @default the defaults of {@link HealthOptions} */
  readonly health?: HealthOptions;
  /** Called for every event, as `on()` does. */
  readonly onEvent?: Listener;
}

/** What `openTally()` works with: every option resolved, nested ones too. */
export interface TallyPolicy {
  readonly service: string;
  readonly broker: Broker;
  readonly inbox: InboxSpec<unknown> | null;
  readonly outbox: OutboxSpec | null;
  readonly topics: readonly Topic<never, unknown>[];
  readonly onEvent: Listener | null;
  readonly connectWithin: number;
  readonly publish: PublishPolicy;
  readonly spill: SpillPolicy;
  readonly reconnect: Backoff;
  readonly health: HealthPolicy;
  readonly memory: MemoryPolicy;
  readonly durability: Durability;
}

interface MemoryPolicy {
  /** Bytes; null: any. */
  readonly max: number | null;
}

const isObject = (v: unknown): v is object => typeof v === "object" && v !== null;
const group: Rule<object> = value<object>({}, "an object of options", isObject);

/** Each option by itself; those that are objects are resolved by their own tables. */
const BOUNDS: Bounds<
  Omit<TallyPolicy, "broker" | "publish" | "spill" | "reconnect" | "health" | "memory"> & {
    readonly broker: Broker | null;
    readonly publish: object;
    readonly spill: object;
    readonly reconnect: object;
    readonly health: object;
    readonly memory: object;
  }
> = {
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
  topics: value<readonly Topic<never, unknown>[]>(
    [],
    "a list of topics, each made by topic()",
    (v): v is readonly Topic<never, unknown>[] => Array.isArray(v) && v.every(isTopic),
  ),
  outbox: value<OutboxSpec | null>(
    null,
    "an outbox: sqlite(path) …",
    (v): v is OutboxSpec => isObject(v) && typeof (v as OutboxSpec).openOutbox === "function",
  ),
  spill: group,
  publish: group,
  reconnect: group,
  health: group,
  memory: group,
  durability: choice<Durability>("warn", "enforce", "off"),
  connectWithin: duration("10s", 100, 600_000),
  onEvent: value<Listener | null>(null, "a function", (v): v is Listener => typeof v === "function"),
};

const MEMORY_BOUNDS: Bounds<MemoryPolicy> = {
  max: { default: null, read: integer(1, 1024 ** 2, 1024 ** 4).read },
};

const RECONNECT_BOUNDS: Bounds<Backoff> = {
  min: duration("100ms", 1, 60_000),
  max: duration("5s", 1, 600_000),
};

export const CLOSE_BOUNDS: Bounds<{ readonly within: number }> = { within: duration("30s") };

/** @throws TallyError `bad-config` */
export function resolveTally(options: object): TallyPolicy {
  const o = resolveOptions("openTally", options, BOUNDS);
  const { service, broker } = o;
  if (service === "")
    throw new TallyError(
      "bad-config",
      "openTally: service must be given: the name whose ids these are, the same after a restart",
    );
  if (broker === null) throw new TallyError("bad-config", "openTally: broker must be given: rabbitmq({…}), memory() …");
  const publish = resolveOptions("openTally: publish", o.publish, PUBLISH_BOUNDS);
  assertGivenRange("openTally: publish", o.publish, publish, "resendMin", "resendMax");
  assertGivenRange("openTally: publish", o.publish, publish, "breakerMin", "breakerMax");
  const reconnect = resolveOptions("openTally: reconnect", o.reconnect, RECONNECT_BOUNDS);
  assertGivenRange("openTally: reconnect", o.reconnect, reconnect, "min", "max");
  return Object.freeze({
    ...o,
    broker,
    publish,
    reconnect,
    spill: resolveOptions("openTally: spill", o.spill, SPILL_BOUNDS),
    memory: resolveOptions("openTally: memory", o.memory, MEMORY_BOUNDS),
    health: resolveOptions("openTally: health", o.health, HEALTH_BOUNDS),
  });
}

/** Who gives one end alone means it: a `max` below the default `min` bounds the first wait as well. */
function assertGivenRange<K extends string>(
  where: string,
  given: object,
  resolved: Readonly<Record<K, number>>,
  min: K,
  max: K,
): void {
  const { [min]: low, [max]: high } = given as Readonly<Record<K, unknown>>;
  if (low !== undefined && high !== undefined) assertRange(where, resolved, min, max);
}
