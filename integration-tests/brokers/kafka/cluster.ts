import { Kafka, logLevel } from "kafkajs";
import { createNetwork, type ContainerNetwork } from "../engine/network.ts";
import { until } from "../engine/wait.ts";
import { uniqueName } from "../rabbitmq/node.ts";
import { PORTS } from "./config.ts";
import { KafkaNode, newClusterId } from "./node.ts";

const SIZE = 3;
const SETTLED_MS = 60_000;

/** Three nodes, each broker and controller, on one network. Kill, pause and proxies belong to the nodes. */
export class KafkaCluster implements AsyncDisposable {
  /** The first is node 1 of the cluster. */
  readonly nodes: readonly KafkaNode[];
  readonly #network: ContainerNetwork;

  private constructor(nodes: readonly KafkaNode[], network: ContainerNetwork) {
    this.nodes = nodes;
    this.#network = network;
  }

  /** All at once: none can serve before two of them have a leader. */
  static async start(image: string, config: string): Promise<KafkaCluster> {
    const stem = uniqueName("tally-kafkas");
    const network = await createNetwork(stem);
    const names = Array.from({ length: SIZE }, (_, at) => `${stem}-${at + 1}`);
    const plan = {
      image,
      cluster: newClusterId(),
      voters: names.map((name, at) => `${at + 1}@${name}:${PORTS.controller}`).join(),
      nodes: SIZE,
      network: network.name,
      secure: null,
      config,
    };
    const starts = await Promise.allSettled(names.map((name, at) => KafkaNode.start({ ...plan, name, node: at + 1 })));
    const nodes = starts.flatMap((start) => (start.status === "fulfilled" ? [start.value] : []));
    const cluster = new KafkaCluster(nodes, network);
    try {
      for (const start of starts) if (start.status === "rejected") throw start.reason;
      await Promise.all(nodes.map((node) => node.ready(SIZE)));
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  /** `host:port` of each node, straight, in the order of `nodes`. */
  get direct(): readonly string[] {
    return this.nodes.map((node) => node.direct);
  }

  /** `host:port` of each node's proxy. Clients that came by one are told of the proxies only. */
  get proxied(): readonly string[] {
    return this.nodes.map((node) => node.proxied);
  }

  /** The running node that leads a partition; waits while there is none (3 to 5 s after a kill). */
  async leaderOf(topic: string, partition = 0): Promise<KafkaNode> {
    return await until(`a leader of ${topic}/${partition}`, SETTLED_MS, async () => {
      const { leader } = await this.#partition(topic, partition);
      // Until a killed one's session has ended it is still named.
      return (await this.#running()).find((node) => this.#idOf(node) === leader);
    });
  }

  /** The running nodes that do not lead it. */
  async followersOf(topic: string, partition = 0): Promise<readonly KafkaNode[]> {
    const leader = await this.leaderOf(topic, partition);
    return (await this.#running()).filter((node) => node !== leader);
  }

  /**
   * Makes another node lead one partition, with all three alive: the leader leaves its replicas and comes back as the
   * last of them. Resolves with the new leader when every replica is in sync.
   */
  async moveLeader(topic: string, partition = 0): Promise<KafkaNode> {
    const { leader, replicas } = await this.#partition(topic, partition);
    const others = replicas.filter((id) => id !== leader);
    for (const wanted of [others, [...others, leader]]) {
      const topics = [{ topic, partitionAssignment: [{ partition, replicas: wanted }] }];
      await this.#admin((admin) => admin.alterPartitionReassignments({ topics }));
      await until(`replicas ${wanted.join()} of ${topic}/${partition}`, SETTLED_MS, async () => {
        const now = await this.#partition(topic, partition);
        return now.replicas.join() === wanted.join() && now.isr.length === wanted.length;
      });
    }
    return await this.leaderOf(topic, partition);
  }

  /** Resolves when every replica of every partition of a topic is in sync: whoever is killed next, two are left. */
  async inSync(topic: string): Promise<void> {
    await until(`all replicas of ${topic} in sync`, SETTLED_MS, async () => {
      const partitions = await this.#partitions(topic);
      return partitions.length > 0 && partitions.every(({ isr, replicas }) => isr.length === replicas.length);
    });
  }

  /** The offset after the last message of a partition, as its leader has it. */
  async endOf(topic: string, partition = 0): Promise<number> {
    return await until(`the end of ${topic}/${partition}`, SETTLED_MS, async () => {
      const ends = await this.#admin((admin) => admin.fetchTopicOffsets(topic));
      return Number(ends.find((one) => one.partition === partition)!.high);
    });
  }

  /** Removes the nodes with their data, then the network. */
  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop()));
    await this.#network.remove();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  #idOf(node: KafkaNode): number {
    return this.nodes.indexOf(node) + 1;
  }

  async #running(): Promise<readonly KafkaNode[]> {
    const states = await Promise.all(this.nodes.map((node) => node.state()));
    return this.nodes.filter((_, at) => states[at] === "running");
  }

  async #partition(topic: string, partition: number): Promise<PartitionState> {
    const found = (await this.#partitions(topic)).find(({ partitionId }) => partitionId === partition);
    if (found === undefined) throw new Error(`${topic} has no partition ${partition}`);
    return found;
  }

  async #partitions(topic: string): Promise<readonly PartitionState[]> {
    return await this.#admin(async (admin) => {
      const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
      return topics.flatMap(({ partitions }) => partitions);
    });
  }

  async #admin<T>(work: (admin: ReturnType<Kafka["admin"]>) => Promise<T>): Promise<T> {
    const running = await this.#running();
    const brokers = running.map((node) => node.direct);
    const admin = new Kafka({ brokers, logLevel: logLevel.NOTHING, retry: { retries: 5 } }).admin();
    try {
      await admin.connect();
      return await work(admin);
    } finally {
      await admin.disconnect();
    }
  }
}

interface PartitionState {
  readonly partitionId: number;
  readonly leader: number;
  readonly replicas: readonly number[];
  readonly isr: readonly number[];
}
