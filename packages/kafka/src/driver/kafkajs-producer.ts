import type { Kafka } from "kafkajs";
// @ts-expect-error -- a file of kafkajs that its types do not describe
import errors from "kafkajs/src/protocol/error.js";
// @ts-expect-error -- a file of kafkajs that its types do not describe
import answers from "kafkajs/src/protocol/requests/produce/v7/response.js";
import {
  type Cluster,
  clusterOf,
  type Connection,
  newProducer,
  type ProducerIdentity,
  type Retrier,
  retrierOf,
} from "./clusters.ts";
import { type Compression, type Packer, packerOf } from "./codecs.ts";
import { type DriverProducer, type DriverRecord, type Produced, SendFailure } from "./driver.ts";
import { number, PRODUCE, produceRequest } from "./produce/request.ts";

/**
 * Repeats of a batch, in place: about seven seconds, which is longer than a leader's election. Under the same sequence
 * number, so the broker stores the batch once. Metadata that is older than a second is read again, or it would go on asking
 * a leader that was.
 */
const IN_PLACE = { retries: 10, initialRetryTime: 50, maxRetryTime: 1_000 } as const;
const METADATA_MAX_AGE = 1_000;
/** After so many a partition's sequence numbers begin anew. */
const SEQUENCES = 2 ** 31;

export interface ProducerOptions {
  readonly clientId: string;
  /** Of batches on their way out. */
  readonly compression: Compression;
  /** Wall-clock milliseconds: what is sent is as old as its sending. */
  wall(): number;
}

interface Answer {
  readonly topics: readonly {
    readonly topicName: string;
    readonly partitions: readonly {
      readonly partition: number;
      readonly errorCode: number;
      readonly baseOffset: string;
    }[];
  }[];
}

const { decode, parse } = answers as {
  decode(payload: Buffer): Promise<Answer & { readonly clientSideThrottleTime: number }>;
  /** @throws for an error of any partition */
  parse(answer: Answer): Promise<Answer>;
};
const { staleMetadata } = errors as { staleMetadata(thrown: unknown): boolean };

/**
 * An idempotent producer over kafkajs' cluster: metadata, connections, authentication and time-outs are its, the batch and
 * its repeats are here. Its own producer copies each batch eight times on its way to the socket, and takes one send a node
 * at a time.
 *
 * A batch is encoded once, with its sequence number. Whoever sends a partition's next batch does so after the answer to the
 * one before, so that a repeat is always of the very batch that has the next number, and the broker drops what it has.
 */
export class KafkaJsProducer implements DriverProducer {
  readonly #clientId: string;
  readonly #cluster: Cluster;
  readonly #identity: ProducerIdentity;
  readonly #wall: () => number;
  readonly #packer: Packer | null;
  readonly #inPlace: Retrier = retrierOf(IN_PLACE);
  /** By topic and partition: of the next record. */
  readonly #sequences: Map<string, number> = new Map();
  readonly #out: Set<Promise<unknown>> = new Set();
  #closed = false;

  private constructor(cluster: Cluster, identity: ProducerIdentity, options: ProducerOptions) {
    this.#cluster = cluster;
    this.#identity = identity;
    this.#clientId = options.clientId;
    this.#packer = packerOf(options.compression);
    this.#wall = options.wall;
  }

  static async open(client: Kafka, options: ProducerOptions): Promise<KafkaJsProducer> {
    const cluster = clusterOf(client, { metadataMaxAge: METADATA_MAX_AGE, allowAutoTopicCreation: false });
    try {
      await cluster.connect();
      const spoken = cluster.brokerPool.versions?.[PRODUCE.key];
      if (spoken === undefined || spoken.minVersion > PRODUCE.version || spoken.maxVersion < PRODUCE.version)
        throw new Error(`the broker does not take Produce requests of version ${PRODUCE.version}`);
      return new KafkaJsProducer(cluster, await newProducer(client, cluster), options);
    } catch (thrown) {
      void cluster.disconnect().catch(() => {});
      throw thrown;
    }
  }

  async send(topic: string, partition: number, records: readonly DriverRecord[]): Promise<readonly Produced[]> {
    const sending = this.#send(topic, partition, records);
    this.#out.add(sending);
    try {
      return await sending;
    } finally {
      this.#out.delete(sending);
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    await this.#cluster.disconnect();
    if (this.#out.size === 0) return;
    // A repeat that was looking for its leader may have opened connections again.
    await Promise.allSettled(this.#out);
    await this.#cluster.disconnect();
  }

  async #send(topic: string, partition: number, records: readonly DriverRecord[]): Promise<readonly Produced[]> {
    const place = `${topic}/${partition}`;
    const sequence = this.#sequences.get(place) ?? 0;
    let attempts = 0;
    try {
      const request = await produceRequest(
        {
          clientId: this.#clientId,
          topic,
          partition,
          records,
          producerId: this.#identity.id,
          producerEpoch: this.#identity.epoch,
          sequence,
          timestamp: this.#wall(),
        },
        this.#packer,
      );
      const answer = await this.#inPlace(async (bail) => {
        try {
          this.#throwIfClosed();
          const connection = await this.#leader(topic, partition);
          if (!connection.isAuthenticated()) await connection.authenticate();
          this.#throwIfClosed();
          // The socket of an earlier one may still have to write it, under another number.
          return await exchange(connection, attempts++ === 0 ? request : Buffer.from(request));
        } catch (thrown) {
          // What is thrown from here is tried again, if kafkajs says so of it.
          if (await this.#mends(thrown)) throw thrown;
          return bail(thrown);
        }
      });
      this.#sequences.set(place, (sequence + records.length) % SEQUENCES);
      return producedOf(answer as Answer, topic);
    } catch (thrown) {
      throw new SendFailure(attempts, thrown);
    }
  }

  async #leader(topic: string, partition: number): Promise<Connection> {
    const cluster = this.#cluster;
    if (!cluster.targetTopics.has(topic)) await cluster.addMultipleTargetTopics([topic]);
    await cluster.refreshMetadataIfNecessary();
    const [nodeId] = Object.keys(cluster.findLeaderForPartitions(topic, [partition]));
    if (nodeId === undefined) throw new Unknown(`the cluster knows no partition ${partition} of ${topic}`);
    const broker = await cluster.findBroker({ nodeId });
    return await broker.connectionPool.getConnection(0);
  }

  /** Whether another attempt may do better; then with the cluster as it is now. */
  async #mends(thrown: unknown): Promise<boolean> {
    if (this.#closed) return false;
    const { name, retriable, host, port } = thrown as Failure;
    if (name === "KafkaJSConnectionClosedError" && host !== undefined && port !== undefined)
      this.#cluster.removeBroker({ host, port });
    if (!this.#cluster.isConnected()) {
      await this.#cluster.connect();
      await this.#cluster.refreshMetadata();
      return true;
    }
    const moved = staleMetadata(thrown) || name === Unknown.name || name === "KafkaJSMetadataNotLoaded";
    const cut = name === "KafkaJSConnectionError" || name === "KafkaJSConnectionClosedError";
    if (moved || cut || (name === "KafkaJSProtocolError" && retriable === true)) {
      await this.#cluster.refreshMetadata();
      return true;
    }
    return retriable === true;
  }

  #throwIfClosed(): void {
    if (this.#closed) throw new Error("the producer is closed");
  }
}

/** What kafkajs says in its errors. */
interface Failure {
  readonly name?: string;
  readonly retriable?: boolean;
  readonly host?: string;
  readonly port?: number;
}

class Unknown extends Error {
  override readonly name: string = "Unknown";
}

/** Hands the request to the connection, and waits for its answer. */
async function exchange(connection: Connection, request: Buffer): Promise<Answer> {
  const { payload } = await new Promise<{ readonly payload: Buffer }>((resolve, reject) => {
    connection.failIfNotConnected();
    const correlationId = connection.nextCorrelationId();
    number(request, correlationId);
    connection.requestQueue.push({
      entry: { apiKey: PRODUCE.key, apiName: "Produce", apiVersion: PRODUCE.version, correlationId, resolve, reject },
      expectResponse: true,
      requestTimeout: null,
      sendRequest: () => connection.socket.write(request),
    });
  });
  const answer = await decode(payload);
  connection.requestQueue.maybeThrottle(answer.clientSideThrottleTime);
  return await parse(answer);
}

/** @throws where it is about another topic */
function producedOf({ topics }: Answer, topic: string): readonly Produced[] {
  return topics.flatMap(({ topicName, partitions }) => {
    if (topicName !== topic) throw new Error(`the answer is about ${topicName}, not ${topic}`);
    return partitions.map(({ partition, errorCode, baseOffset }) => ({
      partition,
      errorCode,
      offset: Number(baseOffset),
    }));
  });
}
