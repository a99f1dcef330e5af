import type { ResolvedTls } from "@tallymq/core/spi";
import { type Admin, Kafka, type KafkaConfig, logLevel, type Producer, type SASLOptions } from "kafkajs";
import type { ResolvedSasl } from "../sasl.ts";
import type {
  Committed,
  Driver,
  DriverAdmin,
  DriverProducer,
  DriverRecord,
  NewTopic,
  Produced,
  Range,
  Replicas,
} from "./driver.ts";
import { cardIn } from "./cards.ts";
import { COMPRESSION, type Compression, readAllCodecs } from "./codecs.ts";
import { SendFailure } from "./driver.ts";
import { type ConsumerTimes, joinGroup } from "./kafkajs-consumer.ts";
import { wholeAnswers } from "./sockets.ts";
import { typeOf } from "../errors.ts";

export interface KafkaJsPlan {
  readonly brokers: readonly string[];
  readonly clientId: string;
  readonly tls: ResolvedTls | null;
  readonly sasl: ResolvedSasl | null;
  readonly connectTimeout: number;
  readonly requestTimeout: number;
  readonly consumer: ConsumerTimes;
  /** Of batches on their way out. */
  readonly compression: Compression;
  /** Bytes that a batch becomes at most when it is read. */
  readonly maxInflatedBytes: number;
}

/** Retries of the client itself, for metadata and the like: opening is one try, which a moved controller must not fail. */
const QUICK = { retries: 2, initialRetryTime: 50, maxRetryTime: 500 } as const;
/**
 * Retries of a send, in place: about seven seconds, which is longer than a leader's election. It keeps the sequence number,
 * so the broker stores the batch once. Metadata that is older than a second is read again, or it would go on asking a
 * leader that was.
 */
const IN_PLACE = { retries: 10, initialRetryTime: 50, maxRetryTime: 1_000 } as const;
const METADATA_MAX_AGE = 1_000;
/** Kafka's numbers for the kinds of resources that have settings. */
const TOPIC = 2;
const BROKER = 4;
/** States of a group in which its members' words can be read, or in which it has no members. */
const SETTLED: ReadonlySet<string> = new Set(["Stable", "Empty", "Dead"]);

/**
 * kafkajs as a driver. Each producer and each consumer has a client of its own: kafkajs keeps committed offsets, brokers
 * and metadata with the client, and a broken pool must not outlive the session.
 */
export class KafkaJs implements Driver {
  readonly #plan: KafkaJsPlan;

  constructor(plan: KafkaJsPlan) {
    this.#plan = plan;
    readAllCodecs(plan.maxInflatedBytes);
  }

  async producer(): Promise<DriverProducer> {
    return await KafkaJsProducer.open(this.#client(), COMPRESSION[this.#plan.compression]);
  }

  consumer: Driver["consumer"] = (plan, events) => joinGroup(this.#client(), plan, this.#plan.consumer, events);

  async admin(): Promise<DriverAdmin> {
    const admin = this.#client().admin();
    try {
      await admin.connect();
    } catch (thrown) {
      void admin.disconnect().catch(() => {});
      throw thrown;
    }
    return new KafkaJsAdmin(admin);
  }

  #client(): Kafka {
    const { brokers, clientId, tls, sasl, connectTimeout, requestTimeout } = this.#plan;
    const config: KafkaConfig = {
      brokers: [...brokers],
      clientId,
      ...(tls === null ? {} : { ssl: tls as NonNullable<KafkaConfig["ssl"]> }),
      ...(sasl === null ? {} : { sasl: loginOf(sasl) }),
      connectionTimeout: connectTimeout,
      requestTimeout,
      socketFactory: wholeAnswers,
      // What goes wrong comes back as an error; its log would tell each of them again, several times.
      logLevel: logLevel.NOTHING,
      retry: { ...QUICK },
    };
    return new Kafka(config);
  }
}

class KafkaJsProducer implements DriverProducer {
  readonly #producer: Producer;
  readonly #compression: number;
  readonly #out: Set<Promise<unknown>> = new Set();
  #closed = false;

  private constructor(client: Kafka, compression: number) {
    this.#compression = compression;
    this.#producer = client.producer({
      idempotent: true,
      allowAutoTopicCreation: false,
      metadataMaxAge: METADATA_MAX_AGE,
      retry: { ...IN_PLACE },
      createPartitioner:
        () =>
        ({ message }) => {
          // Asked for each message in each attempt: the one place where a retry can be seen, and ended.
          if (this.#closed) throw new TypeError("the producer is closed");
          const { attempt } = message as unknown as Counted;
          if (attempt !== undefined) attempt.count++;
          return message.partition!;
        },
    });
  }

  static async open(client: Kafka, compression: number): Promise<KafkaJsProducer> {
    const made = new KafkaJsProducer(client, compression);
    try {
      await made.#producer.connect();
    } catch (thrown) {
      void made.#producer.disconnect().catch(() => {});
      throw thrown;
    }
    return made;
  }

  async send(topic: string, partition: number, records: readonly DriverRecord[]): Promise<readonly Produced[]> {
    const attempt = { count: 0 };
    const messages = records.map(({ key, value, headers }, at) => ({
      key: key === null ? null : buffer(key),
      value: buffer(value),
      headers: headers as Record<string, string>,
      partition,
      ...(at === 0 ? { attempt } : {}),
    }));
    const sending = this.#producer.send({ topic, messages, acks: -1, compression: this.#compression });
    this.#out.add(sending);
    try {
      const answer = await sending;
      return answer.map((one) => ({
        partition: one.partition,
        errorCode: one.errorCode,
        offset: one.baseOffset === undefined ? null : Number(one.baseOffset),
      }));
    } catch (thrown) {
      throw new SendFailure(attempt.count, thrown);
    } finally {
      this.#out.delete(sending);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#producer.disconnect();
    if (this.#out.size === 0) return;
    // A retry that is due opens the connections again before it asks for its partition.
    await Promise.allSettled(this.#out);
    await this.#producer.disconnect();
  }
}

/** On the first message of a batch. */
interface Counted {
  readonly attempt?: { count: number };
}

class KafkaJsAdmin implements DriverAdmin {
  readonly #admin: Admin;

  constructor(admin: Admin) {
    this.#admin = admin;
  }

  async brokers(): Promise<readonly number[]> {
    return (await this.#admin.describeCluster()).brokers.map(({ nodeId }) => nodeId);
  }

  async create(topics: readonly NewTopic[]): Promise<void> {
    await this.#admin.createTopics({
      // It gives up for good when a broker that it asks for leaders has not heard of a topic yet.
      waitForLeaders: false,
      topics: topics.map(({ name, partitions, replicationFactor, config }) => ({
        topic: name,
        numPartitions: partitions,
        replicationFactor,
        configEntries: Object.entries(config).map(([name, value]) => ({ name, value })),
      })),
    });
  }

  async partitions(topics: readonly string[]): Promise<ReadonlyMap<string, number>> {
    const there = new Set(await this.#admin.listTopics());
    const asked = topics.filter((topic) => there.has(topic));
    if (asked.length === 0) return new Map();
    const { topics: found } = await this.#admin.fetchTopicMetadata({ topics: asked });
    return new Map(found.map(({ name, partitions }) => [name, partitions.length]));
  }

  async replicas(topic: string): Promise<readonly Replicas[] | null> {
    try {
      const { topics } = await this.#admin.fetchTopicMetadata({ topics: [topic] });
      const found = topics.find(({ name }) => name === topic);
      return (found?.partitions ?? []).map(({ partitionId, replicas, isr }) => ({
        partition: partitionId,
        replicas,
        inSync: isr,
      }));
    } catch (thrown) {
      if (typeOf(thrown) === "UNKNOWN_TOPIC_OR_PARTITION") return null;
      throw thrown;
    }
  }

  async settings(topic: string, names: readonly string[]): Promise<ReadonlyMap<string, string>> {
    return await this.#settings(TOPIC, topic, names);
  }

  async brokerSettings(broker: number, names: readonly string[]): Promise<ReadonlyMap<string, string>> {
    return await this.#settings(BROKER, String(broker), names);
  }

  async #settings(type: number, name: string, names: readonly string[]): Promise<ReadonlyMap<string, string>> {
    const { resources } = await this.#admin.describeConfigs({
      resources: [{ type, name, configNames: [...names] }],
      includeSynonyms: false,
    });
    const entries = resources[0]?.configEntries ?? [];
    return new Map(entries.map(({ configName, configValue }) => [configName, configValue]));
  }

  async committed(group: string, topic: string): Promise<readonly Committed[]> {
    const [found] = await this.#admin.fetchOffsets({ groupId: group, topics: [topic] });
    return (found?.partitions ?? []).map(({ partition, offset, metadata }) => ({
      partition,
      offset: Number(offset) < 0 ? null : Number(offset),
      metadata: metadata ?? "",
    }));
  }

  async ranges(topic: string): Promise<readonly Range[]> {
    const found = await this.#admin.fetchTopicOffsets(topic);
    return found.map(({ partition, low, high }) => ({ partition, low: Number(low), high: Number(high) }));
  }

  async since(
    topic: string,
    time: number,
  ): Promise<readonly { readonly partition: number; readonly offset: number }[]> {
    const found = await this.#admin.fetchTopicOffsetsByTimestamp(topic, Math.floor(time));
    return found.map(({ partition, offset }) => ({ partition, offset: Number(offset) }));
  }

  async members(group: string): Promise<{ readonly settled: boolean; readonly cards: readonly string[] }> {
    const [found] = (await this.#admin.describeGroups([group])).groups;
    const settled = found === undefined || SETTLED.has(found.state);
    return { settled, cards: (found?.members ?? []).flatMap(({ memberMetadata }) => cardIn(memberMetadata) ?? []) };
  }

  async forget(
    topic: string,
    below: readonly { readonly partition: number; readonly offset: number }[],
  ): Promise<void> {
    const partitions = below.map(({ partition, offset }) => ({ partition, offset: String(offset) }));
    await this.#admin.deleteTopicRecords({ topic, partitions });
  }

  async close(): Promise<void> {
    await this.#admin.disconnect();
  }
}

function buffer(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

function loginOf({ mechanism, username, password }: ResolvedSasl): SASLOptions {
  return { mechanism, username, password };
}
