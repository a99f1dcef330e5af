import type { Kafka, RetryOptions } from "kafkajs";
// @ts-expect-error -- a file of kafkajs that its types do not describe
import eosManager from "kafkajs/src/producer/eosManager/index.js";
// @ts-expect-error -- a file of kafkajs that its types do not describe
import retry from "kafkajs/src/retry/index.js";

// What lies below the typed surface of kafkajs 2.2, as far as it is used here.

/** Its view of a cluster, with its connections. */
export interface Cluster {
  readonly targetTopics: ReadonlySet<string>;
  readonly brokerPool: { readonly versions: Readonly<Record<number, Versions | undefined>> | null };
  connect(): Promise<void>;
  disconnect(): Promise<void>;
  isConnected(): boolean;
  addMultipleTargetTopics(topics: readonly string[]): Promise<void>;
  refreshMetadata(): Promise<void>;
  refreshMetadataIfNecessary(): Promise<void>;
  /** Partitions by the number of the node that leads them; without those that it does not know. */
  findLeaderForPartitions(topic: string, partitions: readonly number[]): Readonly<Record<string, readonly number[]>>;
  /** Connected. */
  findBroker(of: { readonly nodeId: string }): Promise<Broker>;
  removeBroker(at: { readonly host: string; readonly port: number }): void;
}

interface Versions {
  readonly minVersion: number;
  readonly maxVersion: number;
}

interface Broker {
  readonly connectionPool: { getConnection(index: number): Promise<Connection> };
  fetch(request: { readonly maxWaitTime: number }): Promise<unknown>;
}

/** One connection, and who waits for answers on it. */
export interface Connection {
  readonly socket: { write(bytes: Buffer): unknown };
  readonly requestQueue: {
    push(request: {
      readonly entry: {
        readonly apiKey: number;
        readonly apiName: string;
        readonly apiVersion: number;
        readonly correlationId: number;
        resolve(answer: { readonly payload: Buffer }): void;
        reject(thrown: unknown): void;
      };
      readonly expectResponse: boolean;
      /** Null: that of the connection. */
      readonly requestTimeout: number | null;
      sendRequest(): void;
    }): void;
    maybeThrottle(ms: number): void;
  };
  isAuthenticated(): boolean;
  authenticate(): Promise<void>;
  failIfNotConnected(): void;
  nextCorrelationId(): number;
}

interface ClusterOptions {
  readonly metadataMaxAge: number;
  readonly allowAutoTopicCreation: boolean;
}

/** As the client makes one for each of its producers. */
export function clusterOf(client: Kafka, options: ClusterOptions): Cluster {
  return makerOf(client).make(options);
}

/**
 * The client's consumers have brokers hold a fetch that finds nothing for so long. kafkajs has one time for that and for its
 * own sleep while all partitions of a node are paused, from which nothing wakes it.
 */
export function holdFetches(client: Kafka, ms: number): void {
  const { make, use } = makerOf(client);
  const seen = new WeakSet<Broker>();
  use((options) => {
    const cluster = make(options);
    const find = cluster.findBroker.bind(cluster);
    cluster.findBroker = async (of) => {
      const broker = await find(of);
      if (seen.has(broker)) return broker;
      seen.add(broker);
      const fetch = broker.fetch.bind(broker);
      broker.fetch = (request) => fetch({ ...request, maxWaitTime: ms });
      return broker;
    };
    return cluster;
  });
}

type Make = (options: ClusterOptions) => Cluster;

function makerOf(client: Kafka): { readonly make: Make; use(make: Make): void } {
  const of = client as unknown as Record<symbol, Make | undefined>;
  const at = Object.getOwnPropertySymbols(client).find(
    ({ description }) => description === "private:Kafka:createCluster",
  );
  const make = at === undefined ? undefined : of[at];
  if (at === undefined || make === undefined)
    throw new Error("this kafkajs is not of the range that is supported: 2.2.4");
  return { make, use: (other) => (of[at] = other) };
}

/** Runs it until it does not throw, as often and as fast as its options say; what it throws may say that it is final, and so does `bail`. */
export type Retrier = <T>(attempt: (bail: (thrown: unknown) => void) => Promise<T>) => Promise<T>;

export function retrierOf(options: RetryOptions): Retrier {
  return (retry as (options: RetryOptions) => Retrier)(options);
}

/** Under which the broker knows a producer. */
export interface ProducerIdentity {
  readonly id: bigint;
  readonly epoch: number;
}

export async function newProducer(client: Kafka, cluster: Cluster): Promise<ProducerIdentity> {
  const eos = (eosManager as (options: object) => EosManager)({
    logger: client.logger(),
    cluster,
    transactional: false,
  });
  await eos.initProducerId();
  return { id: BigInt(eos.getProducerId()), epoch: eos.getProducerEpoch() };
}

interface EosManager {
  initProducerId(): Promise<void>;
  getProducerId(): string;
  getProducerEpoch(): number;
}
