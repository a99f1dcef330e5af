// Over 300 lines: one protocol; each call is a request put together and an answer taken apart.
import { type Clock, type HostPort, readHostPort, sleep } from "@tallymq/core/spi";
import type { ResolvedCredentials } from "../options.ts";
import { RemotingClient, RemotingError } from "./client.ts";
import { readJson } from "./frames.ts";
import type { Dial } from "./socket.ts";

/** Codes of requests. */
const ASK = {
  query: 12,
  queryOffset: 14,
  writeOffset: 15,
  makeTopic: 17,
  config: 26,
  runtime: 28,
  maxOffset: 30,
  minOffset: 31,
  route: 105,
  cluster: 106,
  makeGroup: 200,
  topic: 351,
  group: 352,
  replication: 907,
  controllerConfig: 1010,
} as const;
/** Codes of answers. */
const TOPIC_MISSING = 17;
const NOT_FOUND = 22;
const GROUP_MISSING = 26;

export type TopicKind = "NORMAL" | "FIFO" | "DELAY" | "TRANSACTION";

export interface TopicOnBroker {
  readonly kind: string;
  readonly queues: number;
  readonly reads: boolean;
  readonly writes: boolean;
}

export interface GroupOnBroker {
  readonly ordered: boolean;
  /** Deliveries after the first, until the broker gives up. */
  readonly retries: number;
  /** False: it gets nothing. */
  readonly enabled: boolean;
}

/** One broker name: a master and its replicas. */
export interface BrokerOnNames {
  /** Null: at the moment there is none. */
  readonly master: RemotingClient | null;
  /** Those that are registered now, the master among them. */
  readonly replicas: number;
}

export interface QueueOffsets {
  readonly broker: string;
  readonly queue: number;
  readonly min: number;
  readonly max: number;
  /** Null: the group has never been there. */
  readonly group: number | null;
}

export interface ClusterOptions {
  readonly names: readonly HostPort[];
  readonly dial: Dial;
  readonly clock: Clock;
  readonly credentials: ResolvedCredentials | null;
  readonly within: number;
}

/** A topic's rights, as bits. */
const READS = 4;
const WRITES = 2;
const DEFAULT_RETRIES = 16;

/** How long a broker takes to tell its name servers of a new topic, at most; and how often they are asked. */
const REGISTERED_MS = 5_000;
const LOOK_MS = 50;

/** Name servers and brokers, as their own admin protocol shows them. Connections are kept, and made anew after a failure. */
export class Cluster {
  readonly #o: ClusterOptions;
  readonly #clients: Map<string, RemotingClient> = new Map();

  constructor(options: ClusterOptions) {
    this.#o = options;
  }

  /** Brokers that take writes, by name. */
  async masters(): Promise<ReadonlyMap<string, RemotingClient>> {
    const masters = new Map<string, RemotingClient>();
    for (const [name, { master }] of await this.brokers()) if (master !== null) masters.set(name, master);
    if (masters.size === 0) throw new Error("the name servers know no broker that takes writes");
    return masters;
  }

  /** What the name servers know. */
  async brokers(): Promise<ReadonlyMap<string, BrokerOnNames>> {
    const answer = await this.#names((client) => client.must("the cluster", ASK.cluster, {}));
    const table = (readJson(answer.body) as { brokerAddrTable?: unknown }).brokerAddrTable;
    const brokers = new Map<string, BrokerOnNames>();
    for (const [name, broker] of Object.entries((table ?? {}) as Record<string, { brokerAddrs?: unknown }>)) {
      const addresses = (broker.brokerAddrs ?? {}) as Record<string, unknown>;
      const address = addresses["0"];
      const master = typeof address === "string" ? this.#at(`the address of ${name}`, address) : null;
      brokers.set(name, { master, replicas: Object.keys(addresses).length });
    }
    return brokers;
  }

  /** Null: not there. */
  async topic(master: RemotingClient, topic: string): Promise<TopicOnBroker | null> {
    const answer = await master.ask(ASK.topic, { topic });
    if (answer.code === TOPIC_MISSING) return null;
    if (answer.code !== 0) throw new RemotingError(`topic ${topic}`, answer);
    const read = readJson(answer.body) as {
      attributes?: Record<string, unknown>;
      readQueueNums?: unknown;
      perm?: unknown;
    };
    const kind = read.attributes?.["message.type"];
    const rights = Number(read.perm ?? READS | WRITES);
    return {
      kind: typeof kind === "string" ? kind : "NORMAL",
      queues: Number(read.readQueueNums ?? 0),
      reads: (rights & READS) !== 0,
      writes: (rights & WRITES) !== 0,
    };
  }

  /** Resolves when the name servers know of it: a proxy that asked before would believe for a while that it is not there. */
  async makeTopic(master: RemotingClient, topic: string, kind: TopicKind, queues: number): Promise<void> {
    await master.must(`topic ${topic}`, ASK.makeTopic, {
      topic,
      defaultTopic: "TBW102",
      readQueueNums: String(queues),
      writeQueueNums: String(queues),
      perm: "6",
      topicFilterType: "SINGLE_TAG",
      topicSysFlag: "0",
      order: "false",
      attributes: `+message.type=${kind}`,
    });
    const { clock } = this.#o;
    for (const end = clock.now() + REGISTERED_MS; ;) {
      const answer = await this.#names((client) => client.ask(ASK.route, { topic, acceptStandardJsonOnly: "true" }));
      if (answer.code === 0) return;
      if (clock.now() > end) throw new RemotingError(`topic ${topic}`, answer);
      await sleep(clock, LOOK_MS);
    }
  }

  /** Null: not there. */
  async group(master: RemotingClient, group: string): Promise<GroupOnBroker | null> {
    const answer = await master.ask(ASK.group, { group });
    if (answer.code === GROUP_MISSING) return null;
    if (answer.code !== 0) throw new RemotingError(`group ${group}`, answer);
    const text = new TextDecoder().decode(answer.body);
    if (text === "" || text === "null") return null;
    const read = readJson(answer.body) as {
      consumeMessageOrderly?: unknown;
      retryMaxTimes?: unknown;
      consumeEnable?: unknown;
    };
    return {
      ordered: read.consumeMessageOrderly === true,
      retries: Number(read.retryMaxTimes ?? DEFAULT_RETRIES),
      enabled: read.consumeEnable !== false,
    };
  }

  async makeGroup(master: RemotingClient, group: string, ordered: boolean, retries: number): Promise<void> {
    const config = {
      groupName: group,
      consumeEnable: true,
      consumeFromMinEnable: true,
      consumeBroadcastEnable: false,
      consumeMessageOrderly: ordered,
      retryQueueNums: 1,
      retryMaxTimes: retries,
      brokerId: 0,
      whichBrokerWhenConsumeSlowly: 1,
      notifyConsumerIdsChangedEnable: true,
    };
    await master.must(`group ${group}`, ASK.makeGroup, {}, new TextEncoder().encode(JSON.stringify(config)));
  }

  /** What a queue holds, and where the group is in it. */
  async offsets(
    [name, master]: readonly [string, RemotingClient],
    topic: string,
    group: string,
    queues: number,
  ): Promise<readonly QueueOffsets[]> {
    return await Promise.all(
      Array.from({ length: queues }, async (_, queue): Promise<QueueOffsets> => {
        const at = { topic, queueId: String(queue) };
        const [min, max, own] = await Promise.all([
          master.must(`topic ${topic}`, ASK.minOffset, at),
          master.must(`topic ${topic}`, ASK.maxOffset, at),
          master.ask(ASK.queryOffset, { ...at, consumerGroup: group, setZeroIfNotFound: "false" }),
        ]);
        if (own.code !== 0 && own.code !== NOT_FOUND) throw new RemotingError(`group ${group}`, own);
        return {
          broker: name,
          queue,
          min: Number(min.fields["offset"]),
          max: Number(max.fields["offset"]),
          group: own.code === 0 ? Number(own.fields["offset"]) : null,
        };
      }),
    );
  }

  async writeOffset(
    master: RemotingClient,
    topic: string,
    group: string,
    queue: number,
    offset: number,
  ): Promise<void> {
    await master.must(`group ${group}`, ASK.writeOffset, {
      consumerGroup: group,
      topic,
      queueId: String(queue),
      commitOffset: String(offset),
    });
  }

  /**
   * Whether consumers of a topic get, or have got, a message with this id of the protocol. The broker's index has hashes of
   * ids: what it finds must hold the id itself.
   */
  async holds(master: RemotingClient, topic: string, messageId: string): Promise<boolean> {
    const answer = await master.ask(ASK.query, {
      topic,
      key: messageId,
      maxNum: "32",
      beginTimestamp: "0",
      endTimestamp: String(Number.MAX_SAFE_INTEGER),
      _UNIQUE_KEY_QUERY: "true",
    });
    if (answer.code === NOT_FOUND) return false;
    if (answer.code !== 0) throw new RemotingError(`topic ${topic}`, answer);
    return new TextDecoder("latin1").decode(answer.body).includes(messageId);
  }

  /** How many messages there have ever been in the only queue of a topic of the broker's own. */
  async ever(master: RemotingClient, topic: string): Promise<number> {
    const { fields } = await master.must(`topic ${topic}`, ASK.maxOffset, { topic, queueId: "0" });
    return Number(fields["offset"]);
  }

  /** A broker's settings, as it writes them down. May hold secrets: never to be shown. */
  async settings(master: RemotingClient): Promise<ReadonlyMap<string, string>> {
    return readProperties((await master.must("the broker's settings", ASK.config, {})).body);
  }

  /** The same of a controller, which may run within a name server. @param address `host:port`, as a broker has it */
  async controllerSettings(address: string): Promise<ReadonlyMap<string, string>> {
    const controller = this.#at("the address of a controller", address);
    return readProperties((await controller.must("the controller's settings", ASK.controllerConfig, {})).body);
  }

  /** As `5.5.0`; null where it says nothing of the kind. */
  async version(master: RemotingClient): Promise<string | null> {
    const { body } = await master.must("the broker's version", ASK.runtime, {});
    const said = (readJson(body) as { table?: Record<string, unknown> }).table?.["brokerVersionDesc"];
    const numbers = typeof said === "string" ? /^V(\d+)_(\d+)_(\d+)/.exec(said) : null;
    return numbers === null ? null : numbers.slice(1).join(".");
  }

  /** Replicas that have what the master has, itself among them; null where it does not say. */
  async inSync(master: RemotingClient): Promise<number | null> {
    const { body } = await master.must("the broker's replicas", ASK.replication, {});
    const slaves = (readJson(body) as { inSyncSlaveNums?: unknown }).inSyncSlaveNums;
    return typeof slaves === "number" ? slaves + 1 : null;
  }

  close(): void {
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }

  /** The first name server that can be reached. */
  async #names<T>(work: (client: RemotingClient) => Promise<T>): Promise<T> {
    let last: unknown = null;
    for (const endpoint of this.#o.names) {
      try {
        return await work(this.#client(endpoint));
      } catch (thrown) {
        if (thrown instanceof RemotingError) throw thrown;
        last = thrown;
      }
    }
    throw last;
  }

  #at(where: string, address: string): RemotingClient {
    return this.#client(readHostPort(where, address, "localhost:10911"));
  }

  #client(at: HostPort): RemotingClient {
    let client = this.#clients.get(at.name);
    if (client === undefined || client.over) {
      client = new RemotingClient(at, this.#o);
      this.#clients.set(at.name, client);
    }
    return client;
  }
}

function readProperties(body: Uint8Array): ReadonlyMap<string, string> {
  const lines = new TextDecoder().decode(body).split("\n");
  return new Map(
    lines.flatMap((line) => {
      const cut = line.indexOf("=");
      return cut > 0 ? [[line.slice(0, cut).trim(), line.slice(cut + 1).trim()] as const] : [];
    }),
  );
}
