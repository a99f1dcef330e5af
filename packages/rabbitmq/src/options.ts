import {
  type Bounds,
  choice,
  type Duration,
  duration,
  flag,
  integer,
  resolveOptions,
  type Rule,
  TallyError,
  text,
  type ResolvedTls,
  resolveTls,
  type TlsOptions,
} from "@tallymq/core/spi";
import type { ManagementSettings } from "./audit/management.ts";
import { management, type ManagementOptions } from "./audit/options.ts";
import type { AskCredentials } from "./credentials.ts";
import { LONGEST_DELAY } from "./delays.ts";
import { type Endpoint, readEndpoint, refuseOpenPassword, vhostOf } from "./endpoint.ts";
import {
  type Declare,
  declareRule,
  type RabbitTopicOptions,
  readTopic,
  readTopics,
  refuseStream,
  type ResolvedTopic,
} from "./topics.ts";

/** Options of {@link rabbitmq}. */
export interface RabbitOptions {
  /**
   * `amqp[s]://user:password@host:port/vhost`, one for each node of a cluster. A try to connect goes through them in random
   * order, those that failed last: the next one starts when one has failed or been silent for a second.
   */
  readonly urls: readonly string[];
  /**
   * Asked for name and password before each connection, and again before they run out: OAuth 2 tokens, secrets that
   * rotate. Excludes credentials in `urls`. What fails is surfaced and tried again; when they have run out the connection
   * is closed, and the next one asks anew. @default those of the URL
   */
  readonly credentials?: AskCredentials;
  /** One URL may take so long to open; the whole try is bounded by core's `connectWithin`. @default "5s" */
  readonly connectTimeout?: Duration;
  /**
   * True: a password may leave this machine unencrypted, with `amqp://`. Otherwise that is refused, but for hosts that are
   * this machine. @default false
   */
  readonly plaintextPassword?: boolean;
  /**
   * Name of this destination: stands in events and outbox rows. Whoever shares an outbox file and has this name sends its
   * rows: another broker, or another virtual host, needs another name there. @default "rabbitmq"
   */
  readonly name?: string;
  /**
   * Whole seconds. A connection that is silent for two to three of these is dead. The driver's own default would need
   * minutes to notice a half-open one. 0 turns heartbeats off, and is surfaced: nobody notices a half-open connection then.
   * @default "5s"
   */
  readonly heartbeat?: Duration;
  /**
   * Who answers for what was published: publisher confirms, or AMQP's transactions (one after another, a batch in each).
   * Confirms are faster and say more; see docs/rabbitmq.md for what a transaction on a quorum queue does not say.
   * @default "confirm"
   */
  readonly mode?: "confirm" | "tx";
  /** Messages of one transaction, at most; only with `mode: "tx"`. @default 1000 */
  readonly txMessages?: number;
  /** Bytes of bodies in one transaction, at most (a larger one goes by itself); only with `mode: "tx"`. @default 4194304 */
  readonly txBytes?: number;
  /** Type of the queues that are declared. @default "quorum" */
  readonly queueType?: "quorum" | "classic";
  /**
   * Returns of a message after which a quorum queue dead-letters it. The broker counts a consumer's crash against each
   * message that was merely prefetched, so this stays far above the attempts that handlers get.
   * @default 200
   */
  readonly deliveryLimit?: number;
  /**
   * Up to so long copies can be delayed; 0: none. Queues for delays are made when the first copy needs them, for as long a
   * delay as is asked for: up to 25 of them for all topics of a virtual host. At most 24 days.
   * @default "7d"
   */
  readonly longestDelay?: Duration;
  /** Where topics live on the broker, by topic name; those not named follow the default mapping. @default {} */
  readonly topics?: Readonly<Record<string, RabbitTopicOptions>>;
  /** What of exchanges and queues this program makes; a topic may say another thing. @default true */
  readonly declare?: Declare;
  /** Where the audit sees policies, replicas and bindings. @default nowhere: they are unverifiable */
  readonly management?: ManagementOptions;
  /** For amqps: whom to trust, and this client's own certificate. @default whom Node trusts, no certificate */
  readonly tls?: TlsOptions;
  /** Largest frame in bytes; the broker may ask for less. RabbitMQ 4.1 and later want 8192 at least. @default 131072 */
  readonly frameMax?: number;
}

/** The resolved options: milliseconds, bytes, checked names. */
export interface ResolvedOptions {
  readonly urls: readonly Endpoint[];
  readonly name: string;
  readonly heartbeat: number;
  readonly mode: "confirm" | "tx";
  readonly txMessages: number;
  readonly txBytes: number;
  readonly queueType: "quorum" | "classic";
  readonly deliveryLimit: number;
  readonly longestDelay: number;
  readonly topics: ReadonlyMap<string, ResolvedTopic>;
  readonly management: ManagementSettings | null;
  /** A topic that is not among them. */
  readonly elsewhere: ResolvedTopic;
  readonly tls: ResolvedTls | null;
  readonly credentials: AskCredentials | null;
  readonly connectTimeout: number;
  readonly plaintextPassword: boolean;
  readonly frameMax: number;
}

const urls: Rule<readonly Endpoint[]> = {
  default: [],
  read(name, given) {
    if (!Array.isArray(given) || given.length === 0)
      throw new TallyError("bad-config", `${name} must be a list of at least one URL`);
    return Object.freeze(given.map((url, i) => readEndpoint(`${name}[${i}]`, url)));
  },
};

const seconds: Rule<number> = {
  default: 5_000,
  read(name, given) {
    const ms = duration("5s", 1_000, 600_000).read(name, given);
    if (ms % 1_000 !== 0) throw new TallyError("bad-config", `${name} must be whole seconds; got ${ms} ms`);
    return ms;
  },
};

type Read = Omit<ResolvedOptions, "topics" | "elsewhere" | "management"> & {
  readonly topics: unknown;
  readonly declare: Declare;
  readonly management: typeof management.default;
};

const BOUNDS: Bounds<Read> = {
  urls,
  name: text("rabbitmq", 120),
  heartbeat: { default: 5_000, read: (name, given) => (given === 0 ? 0 : seconds.read(name, given)) },
  mode: choice("confirm", "tx"),
  txMessages: integer(1_000, 1, 100_000),
  txBytes: integer(4 * 1024 * 1024, 1, 1024 * 1024 * 1024),
  queueType: {
    default: "quorum",
    read(name, given) {
      refuseStream(name, given);
      return choice("quorum", "classic").read(name, given);
    },
  },
  deliveryLimit: integer(200, 10, 1_000_000_000),
  longestDelay: duration("7d", 0, LONGEST_DELAY),
  topics: { default: {}, read: (_name, given) => given },
  declare: declareRule(true),
  management,
  tls: {
    default: null,
    read: (name, given) => resolveTls(name, given),
  },
  credentials: {
    default: null,
    read(name, given) {
      if (typeof given === "function") return given as AskCredentials;
      // It may be the password itself: not shown.
      throw new TallyError("bad-config", `${name} must be a function that gives { username, password }`);
    },
  },
  connectTimeout: duration("5s", 100, 600_000),
  plaintextPassword: flag(false),
  frameMax: integer(131_072, 8_192, 16 * 1024 * 1024),
};

/** @throws TallyError `bad-config` */
export function resolveRabbit(given: RabbitOptions): ResolvedOptions {
  const { declare, ...options } = resolveOptions("rabbitmq", given, BOUNDS);
  if (options.urls.length === 0)
    throw new TallyError("bad-config", 'rabbitmq: urls must be given, like ["amqp://localhost"]');
  if (options.tls !== null && options.urls.some((url) => url.protocol !== "amqps")) {
    throw new TallyError("bad-config", "rabbitmq: tls is given, but not all urls begin with amqps://");
  }
  const elsewhere = options.urls.findIndex((url) => vhostOf(url) !== vhostOf(options.urls[0]!));
  if (elsewhere !== -1)
    throw new TallyError(
      "bad-config",
      `rabbitmq: urls[${elsewhere}] names another virtual host than urls[0]: they are nodes of one cluster; another virtual host is another broker, with an openTally() of its own`,
    );
  const asked = options.credentials !== null;
  options.urls.forEach((url, i) => {
    if (asked && url.hasLogin)
      throw new TallyError("bad-config", `rabbitmq: urls[${i}] has credentials, and credentials is given as well`);
    if (!options.plaintextPassword) refuseOpenPassword(`rabbitmq: urls[${i}]`, url, asked);
  });
  if (options.management?.openTo != null && !options.plaintextPassword)
    throw new TallyError(
      "bad-config",
      `rabbitmq: management.url would send its password unencrypted to ${options.management.openTo}: write https://, or say plaintextPassword: true`,
    );
  if (options.mode !== "tx") {
    for (const key of ["txMessages", "txBytes"] as const)
      if (given[key] !== undefined)
        throw new TallyError("bad-config", `rabbitmq: ${key} is given, but mode is not "tx"`);
  }
  return Object.freeze({
    ...options,
    topics: readTopics("rabbitmq: topics", options.topics, declare),
    elsewhere: readTopic("topic", {}, declare),
  });
}
