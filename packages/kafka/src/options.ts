import {
  type Bounds,
  choice,
  type Duration,
  duration,
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
import { type ResolvedSasl, resolveSasl, type SaslOptions } from "./sasl.ts";

/** Options of {@link kafka}. */
export interface KafkaOptions {
  /** `host:port` of some brokers of the cluster; the others are learned from them. */
  readonly brokers: readonly string[];
  /** Name of this destination: stands in events and outbox rows. @default "kafka" */
  readonly name?: string;
  /** Connections are TLS: `{}`, or with options. Certificates are always checked. @default connections that anybody on the way can read */
  readonly tls?: TlsOptions;
  /** @default none: the broker asks nobody, or knows its clients by their certificates */
  readonly sasl?: SaslOptions;
  /** Where topics live on the broker, by topic name; those not named follow the default mapping. @default {} */
  readonly topics?: Readonly<Record<string, KafkaTopicOptions>>;
  /**
   * What is made of topics, where `topics` says nothing else. See {@link KafkaTopicOptions}.
   * @default true
   */
  readonly declare?: boolean | "passive";
  /** Of topics that are made. @default 6 */
  readonly partitions?: number;
  /** Of topics that are made. @default 3, or as many as there are brokers when the first topic is made */
  readonly replicationFactor?: number;
  /** `min.insync.replicas` of topics that are made. @default one less than the replication factor, and at least 1 */
  readonly minInsyncReplicas?: number;
  /**
   * Largest body in bytes. Topics that are made take it, with its headers; of others `max.message.bytes` must.
   * @default 1048576
   */
  readonly maxBytes?: number;
  /** Bodies of one batch, in bytes; a larger one travels alone. @default 1048576 */
  readonly batchBytes?: number;
  /**
   * How long a message waits for others of its partition, to go in one request. Without it those of one tick go together, and
   * what is published while a request of the partition is out is the next one. @default "0ms"
   */
  readonly linger?: Duration;
  /**
   * What batches are compressed with; `topic({ compress })` does it for bodies. What others send is read in any case: gzip,
   * zstd, snappy and lz4.
   * @default "none"
   */
  readonly compression?: "none" | "gzip" | "zstd";
  /**
   * What a compressed batch becomes at most when it is read: beyond it, its messages are unreadable (`decode`). The largest of
   * the process counts.
   * @default 16777216
   */
  readonly maxInflatedBytes?: number;
  /**
   * What to do when messages that a group has not had are gone (retention, a topic made anew), or its offset lies beyond the
   * end. Surfaced in any case. `"fail"`: its consumers do not start, or end, until a person decides; the others go on.
   * @default "fail"
   */
  readonly offsetReset?: "fail" | "earliest" | "latest";
  /** A member that the coordinator has not heard of for so long is out of its group. @default "10s" */
  readonly sessionTimeout?: Duration;
  /** Between two heartbeats. They are sent whatever handlers do. At most a third of `sessionTimeout`. @default "1s" */
  readonly heartbeat?: Duration;
  /** How long members have to come back when a group rebalances. @default "30s" */
  readonly rebalanceTimeout?: Duration;
  /** Of one connection. @default "3s" */
  readonly connectTimeout?: Duration;
  /** An answer that has not come after so long is asked for again. @default "10s" */
  readonly requestTimeout?: Duration;
  /** The broker answers a fetch that finds nothing after so long. @default "100ms" */
  readonly fetchWait?: Duration;
  /** Of one partition in one fetch; a larger message comes alone. @default 262144 */
  readonly fetchBytes?: number;
  /**
   * Bodies that are fetched and not handed out yet, in bytes, for each topic of a consumer; as much again may be under way.
   * Both count in the memory bound. Of many partitions less is fetched at a time, so that it holds. @default 8388608
   */
  readonly readAhead?: number;
}

/** Where one topic lives. */
export interface KafkaTopicOptions {
  /** @default the topic's name */
  readonly topic?: string;
  /** Consumer groups, by group, where they are not `<topic>.<group>`. @default {} */
  readonly groups?: Readonly<Record<string, string>>;
  /**
   * True: all that is missing. False: the topic is somebody else's, it is looked for and never made; those for its copies,
   * delays and dead letters are made all the same. "passive": nothing is made, and all that is needed must be there.
   * @default that of {@link KafkaOptions}
   */
  readonly declare?: boolean | "passive";
}

export interface ResolvedTopic {
  readonly topic: string | null;
  readonly groups: ReadonlyMap<string, string>;
  /** Null: as for all. */
  readonly declare: boolean | "passive" | null;
}

/** The resolved options: milliseconds, bytes, checked names. */
export interface ResolvedOptions {
  readonly brokers: readonly string[];
  readonly name: string;
  readonly tls: ResolvedTls | null;
  readonly sasl: ResolvedSasl | null;
  readonly topics: ReadonlyMap<string, ResolvedTopic>;
  readonly declare: boolean | "passive";
  readonly partitions: number;
  readonly replicationFactor: number | null;
  readonly minInsyncReplicas: number | null;
  readonly maxBytes: number;
  readonly batchBytes: number;
  readonly linger: number;
  readonly compression: "none" | "gzip" | "zstd";
  readonly maxInflatedBytes: number;
  readonly offsetReset: "fail" | "earliest" | "latest";
  readonly sessionTimeout: number;
  readonly heartbeat: number;
  readonly rebalanceTimeout: number;
  readonly connectTimeout: number;
  readonly requestTimeout: number;
  readonly fetchWait: number;
  readonly fetchBytes: number;
  readonly readAhead: number;
}

/** A client takes a broker without a port for port NaN, and says so after many retries. */
const addresses = hostPorts("localhost:9092");

const brokers: Rule<readonly string[]> = {
  default: [],
  read: (name, given) => Object.freeze(addresses.read(name, given).map((one) => one.name)),
};

const orNull = (rule: Rule<number>): Rule<number | null> => ({ default: null, read: (name, v) => rule.read(name, v) });

const declare: Rule<boolean | "passive"> = {
  default: true,
  read(name, given) {
    if (given === true || given === false || given === "passive") return given;
    throw new TallyError("bad-config", `${name} must be true, false or "passive"`);
  },
};

const TOPIC_BOUNDS: Bounds<ResolvedTopic> = {
  topic: { default: null, read: (name, given) => text("").read(name, given) },
  groups: table(text("").read),
  declare: { default: null, read: (name, given) => declare.read(name, given) },
};

const BOUNDS: Bounds<ResolvedOptions> = {
  brokers,
  name: text("kafka", 120),
  tls: { default: null, read: resolveTls },
  sasl: { default: null, read: resolveSasl },
  topics: table((name, given) => resolveOptions<ResolvedTopic>(name, given as object, TOPIC_BOUNDS)),
  declare,
  partitions: integer(6, 1, 10_000),
  replicationFactor: orNull(integer(3, 1, 15)),
  minInsyncReplicas: orNull(integer(2, 1, 15)),
  maxBytes: integer(1_048_576, 1, 256 * 1024 * 1024),
  batchBytes: integer(1_048_576, 1, 256 * 1024 * 1024),
  linger: duration("0ms", 0, 60_000),
  compression: choice("none", "gzip", "zstd"),
  maxInflatedBytes: integer(16_777_216, 1_024, 1_073_741_824),
  offsetReset: choice("fail", "earliest", "latest"),
  sessionTimeout: duration("10s", 1_000, 1_800_000),
  heartbeat: duration("1s", 100, 600_000),
  rebalanceTimeout: duration("30s", 1_000, 1_800_000),
  connectTimeout: duration("3s", 100, 600_000),
  requestTimeout: duration("10s", 1_000, 600_000),
  fetchWait: duration("100ms", 10, 5_000),
  fetchBytes: integer(262_144, 1_024, 256 * 1024 * 1024),
  readAhead: integer(8_388_608, 65_536, 1_073_741_824),
};

/** @throws TallyError `bad-config` */
export function resolveKafka(given: KafkaOptions): ResolvedOptions {
  const options = resolveOptions<ResolvedOptions>("kafka", given, BOUNDS);
  if (options.brokers.length === 0)
    throw new TallyError("bad-config", 'kafka: brokers must be given, like ["localhost:9092"]');
  if (options.sasl?.mechanism === "plain" && options.tls === null && !options.sasl.allowPlaintext)
    throw new TallyError(
      "bad-config",
      'kafka: sasl "plain" sends the password as it is: give tls, or say sasl.allowPlaintext where nobody is on the way',
    );
  if (options.heartbeat * 3 > options.sessionTimeout)
    throw new TallyError(
      "bad-config",
      `kafka: heartbeat must be at most a third of sessionTimeout (${options.sessionTimeout} ms), or one that is late ends the membership; got ${options.heartbeat} ms`,
    );
  const { replicationFactor: factor, minInsyncReplicas: min } = options;
  if (factor !== null && min !== null && min > factor)
    throw new TallyError(
      "bad-config",
      `kafka: minInsyncReplicas must be at most replicationFactor (${factor}), or nothing could be written; got ${min}`,
    );
  return options;
}
