import {
  type Bounds,
  choice,
  type Duration,
  duration,
  flag,
  type HostPort,
  hostPorts,
  integer,
  resolveOptions,
  type ResolvedTls,
  resolveTls,
  type Rule,
  table,
  TallyError,
  text,
  type TlsOptions,
} from "@tallymq/core/spi";

/** Options of {@link rocketmq}. */
export interface RocketOptions {
  /** `host:port` of RocketMQ's proxies (gRPC, by default 8081). Each session uses one of them, the next one another. */
  readonly endpoints: readonly string[];
  /**
   * `host:port` of the name servers (9876), by which topics and groups are made and looked at; their brokers (10911) must be
   * reachable too. @default none: topics and groups have to be there
   */
  readonly names?: readonly string[];
  /** Name of this destination: stands in events and outbox rows. @default "rocketmq" */
  readonly name?: string;
  /** Connections to the proxies are TLS: `{}`, or with options. Certificates are always checked. @default connections that anybody on the way can read */
  readonly tls?: TlsOptions;
  /** @default none: the broker asks nobody */
  readonly credentials?: RocketCredentials;
  /** Where topics live on the broker, by topic name; those not named follow the default mapping. @default {} */
  readonly topics?: Readonly<Record<string, RocketTopicOptions>>;
  /** Stands before each topic and group of the default mapping. @default "" */
  readonly prefix?: string;
  /** Queues of topics that are made, on each broker. @default 8 */
  readonly queues?: number;
  /** Largest body in bytes; the broker's `maxMessageSize` must take it with its properties. @default 1048576 */
  readonly maxBytes?: number;
  /** Bodies of one request, in bytes; a larger one travels alone. @default 1048576 */
  readonly batchBytes?: number;
  /** Messages of one request. @default 256 */
  readonly batchMessages?: number;
  /** Requests with messages of one topic at one time. @default 4 */
  readonly requests?: number;
  /** Where a group begins that has never been there before. @default "earliest" */
  readonly from?: "earliest" | "latest";
  /** What a consumer holds is invisible to the others for so long, and is renewed at half of it. @default "30s" */
  readonly invisible?: Duration;
  /** The broker answers a consumer that it finds nothing for after so long; 1 to 20 s, and the proxy has a shortest time of its own, 5 s by default. @default "5s" */
  readonly receiveWait?: Duration;
  /** Of one connection. @default "5s" */
  readonly connectTimeout?: Duration;
  /** An answer that has not come after so long leaves a message in doubt. @default "6s" */
  readonly requestTimeout?: Duration;
  /** Each proxy in use is asked so often whether it is there. @default "5s" */
  readonly heartbeat?: Duration;
  /** Longest time that no process of the service may be there; the audit holds the broker's transaction checks against it. @default "1h" */
  readonly downtime?: Duration;
}

/** As the broker's access control knows its users. */
export interface RocketCredentials {
  readonly accessKey: string;
  readonly secretKey: string;
  /** @default none */
  readonly securityToken?: string;
}

/** Where one topic lives. */
export interface RocketTopicOptions {
  /** @default the topic's name, with `_` for each dot and `__` for each underscore */
  readonly topic?: string;
  /** Consumer groups, by group, where they are not `<topic>_<group>`, named by the same rule. @default {} */
  readonly groups?: Readonly<Record<string, string>>;
  /** False: the topic is somebody else's; it is looked for, never made. Topics for copies are made all the same. @default true */
  readonly declare?: boolean;
}

export interface ResolvedTopic {
  readonly topic: string | null;
  readonly groups: ReadonlyMap<string, string>;
  readonly declare: boolean;
}

export interface ResolvedCredentials {
  readonly accessKey: string;
  readonly secretKey: string;
  readonly securityToken: string | null;
}

/** The resolved options: milliseconds, bytes, checked names. */
export interface ResolvedOptions {
  readonly endpoints: readonly HostPort[];
  readonly names: readonly HostPort[];
  readonly name: string;
  readonly tls: ResolvedTls | null;
  readonly credentials: ResolvedCredentials | null;
  readonly topics: ReadonlyMap<string, ResolvedTopic>;
  readonly prefix: string;
  readonly queues: number;
  readonly maxBytes: number;
  readonly batchBytes: number;
  readonly batchMessages: number;
  readonly requests: number;
  readonly from: "earliest" | "latest";
  readonly invisible: number;
  readonly receiveWait: number;
  readonly connectTimeout: number;
  readonly requestTimeout: number;
  readonly heartbeat: number;
  readonly downtime: number;
}

/** Those of the 4 MiB that a broker takes at most by default which are left for bodies, beside properties and framing. */
const MOST_BYTES = 4 * 1024 * 1024 - 65_536;

/** As `text`, but what was given may be a secret in the wrong place: not even a short one is shown. */
function unshown(optional: boolean): Rule<string | null> {
  return {
    default: null,
    read(name, given) {
      if (typeof given === "string" && given.length > 0) return given;
      throw new TallyError(
        "bad-config",
        `${name} must be a string that is not empty${optional ? ", or left out" : ""}`,
      );
    },
  };
}

function readCredentials(where: string, given: unknown): ResolvedCredentials {
  if (typeof given !== "object" || given === null)
    throw new TallyError("bad-config", `${where} must be an object with accessKey and secretKey`);
  const read = resolveOptions<{ readonly [K in keyof ResolvedCredentials]: string | null }>(where, given, {
    accessKey: unshown(false),
    secretKey: unshown(false),
    securityToken: unshown(true),
  });
  const { accessKey, secretKey, securityToken } = read;
  if (accessKey === null || secretKey === null)
    throw new TallyError("bad-config", `${where} needs both accessKey and secretKey`);
  return Object.freeze({ accessKey, secretKey, securityToken });
}

const prefix: Rule<string> = {
  default: "",
  read(name, given) {
    if (typeof given === "string" && /^[a-zA-Z0-9_-]{0,60}$/.test(given)) return given;
    throw new TallyError("bad-config", `${name} must be up to 60 letters, digits, hyphens and underscores`);
  },
};

const TOPIC_BOUNDS: Bounds<ResolvedTopic> = {
  topic: { default: null, read: (name, given) => text("").read(name, given) },
  groups: table(text("").read),
  declare: flag(true),
};

const BOUNDS: Bounds<ResolvedOptions> = {
  endpoints: hostPorts("localhost:8081"),
  names: hostPorts("localhost:9876"),
  name: text("rocketmq", 120),
  tls: { default: null, read: resolveTls },
  credentials: { default: null, read: readCredentials },
  topics: table((name, given) => resolveOptions<ResolvedTopic>(name, given as object, TOPIC_BOUNDS)),
  prefix,
  queues: integer(8, 1, 1_024),
  maxBytes: integer(1_048_576, 1, MOST_BYTES),
  batchBytes: integer(1_048_576, 1, MOST_BYTES),
  batchMessages: integer(256, 1, 1_000),
  requests: integer(4, 1, 64),
  from: choice("earliest", "latest"),
  invisible: duration("30s", 10_000, 43_200_000),
  receiveWait: duration("5s", 1_000, 20_000),
  connectTimeout: duration("5s", 100, 600_000),
  requestTimeout: duration("6s", 6_000, 600_000),
  heartbeat: duration("5s", 500, 60_000),
  downtime: duration("1h", 1_000, 30 * 86_400_000),
};

/** @throws TallyError `bad-config` */
export function resolveRocket(given: RocketOptions): ResolvedOptions {
  const options = resolveOptions<ResolvedOptions>("rocketmq", given, BOUNDS);
  if (options.endpoints.length === 0)
    throw new TallyError("bad-config", 'rocketmq: endpoints must be given, like ["localhost:8081"]');
  if (options.tls?.passphrase !== undefined)
    throw new TallyError("bad-config", "rocketmq: tls.passphrase cannot be used by gRPC: give the key without one");
  return options;
}
