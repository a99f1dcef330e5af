import type { ResolvedTls } from "@tallymq/core/spi";
import { type Admin, Kafka, type KafkaConfig, logLevel, type SASLOptions } from "kafkajs";
import { passwordOf, type ResolvedSasl } from "../sasl.ts";
import { cardIn } from "./cards.ts";
import { readAllCodecs } from "./codecs.ts";
import type { Committed, Driver, DriverAdmin, DriverProducer, NewTopic, Range, Replicas } from "./driver.ts";
import { type ConsumerTimes, joinGroup } from "./kafkajs-consumer.ts";
import { KafkaJsProducer, type ProducerOptions } from "./kafkajs-producer.ts";
import { wholeAnswers } from "./sockets.ts";
import { typeOf } from "../errors.ts";

export interface KafkaJsPlan extends ProducerOptions {
  readonly brokers: readonly string[];
  readonly tls: ResolvedTls | null;
  readonly sasl: ResolvedSasl | null;
  readonly connectTimeout: number;
  readonly requestTimeout: number;
  readonly consumer: ConsumerTimes;
  /** Bytes that a batch becomes at most when it is read. */
  readonly maxInflatedBytes: number;
}

/** Retries of the client itself, for metadata and the like: opening is one try, which a moved controller must not fail. */
const QUICK = { retries: 2, initialRetryTime: 50, maxRetryTime: 500 } as const;
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
    return await KafkaJsProducer.open(await this.#client(), this.#plan);
  }

  consumer: Driver["consumer"] = async (plan, events) =>
    await joinGroup(await this.#client(), plan, this.#plan.consumer, events);

  async admin(): Promise<DriverAdmin> {
    const admin = (await this.#client()).admin();
    try {
      await admin.connect();
    } catch (thrown) {
      void admin.disconnect().catch(() => {});
      throw thrown;
    }
    return new KafkaJsAdmin(admin);
  }

  async #client(): Promise<Kafka> {
    const { brokers, clientId, tls, sasl, connectTimeout, requestTimeout } = this.#plan;
    const config: KafkaConfig = {
      brokers: [...brokers],
      clientId,
      ...(tls === null ? {} : { ssl: tls as NonNullable<KafkaConfig["ssl"]> }),
      ...(sasl === null ? {} : { sasl: await loginOf(sasl) }),
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

async function loginOf(sasl: ResolvedSasl): Promise<SASLOptions> {
  const { mechanism, username } = sasl;
  return { mechanism, username, password: await passwordOf(sasl) };
}
