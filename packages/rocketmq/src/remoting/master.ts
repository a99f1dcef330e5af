import { type RemotingClient, RemotingError } from "./client.ts";
import { readJson } from "./frames.ts";

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
  makeGroup: 200,
  topic: 351,
  group: 352,
  replication: 907,
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

export interface QueueOffsets {
  readonly broker: string;
  readonly queue: number;
  readonly min: number;
  readonly max: number;
  /** Null: the group has never been there. */
  readonly group: number | null;
}

/** A topic's rights, as bits. */
const READS = 4;
const WRITES = 2;
const DEFAULT_RETRIES = 16;

/** A broker that takes writes: what it says of topics and groups, and what it is told to make. Nothing is repeated. */
export class Master {
  /** Its broker name; replicas have the same. */
  readonly name: string;
  readonly client: RemotingClient;

  constructor(name: string, client: RemotingClient) {
    this.name = name;
    this.client = client;
  }

  /** Null: not there. */
  async topic(topic: string): Promise<TopicOnBroker | null> {
    const answer = await this.client.ask(ASK.topic, { topic });
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

  /** Its name servers may hear of it later: see `Cluster.makeTopic`. */
  async makeTopic(topic: string, kind: TopicKind, queues: number): Promise<void> {
    await this.client.must(`topic ${topic}`, ASK.makeTopic, {
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
  }

  /** Null: not there. */
  async group(group: string): Promise<GroupOnBroker | null> {
    const answer = await this.client.ask(ASK.group, { group });
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

  async makeGroup(group: string, ordered: boolean, retries: number): Promise<void> {
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
    await this.client.must(`group ${group}`, ASK.makeGroup, {}, new TextEncoder().encode(JSON.stringify(config)));
  }

  /** What a queue holds, and where the group is in it. */
  async offsets(topic: string, group: string, queues: number): Promise<readonly QueueOffsets[]> {
    return await Promise.all(
      Array.from({ length: queues }, async (_, queue): Promise<QueueOffsets> => {
        const at = { topic, queueId: String(queue) };
        const [min, max, own] = await Promise.all([
          this.client.must(`topic ${topic}`, ASK.minOffset, at),
          this.client.must(`topic ${topic}`, ASK.maxOffset, at),
          this.client.ask(ASK.queryOffset, { ...at, consumerGroup: group, setZeroIfNotFound: "false" }),
        ]);
        if (own.code !== 0 && own.code !== NOT_FOUND) throw new RemotingError(`group ${group}`, own);
        return {
          broker: this.name,
          queue,
          min: Number(min.fields["offset"]),
          max: Number(max.fields["offset"]),
          group: own.code === 0 ? Number(own.fields["offset"]) : null,
        };
      }),
    );
  }

  async writeOffset(topic: string, group: string, queue: number, offset: number): Promise<void> {
    await this.client.must(`group ${group}`, ASK.writeOffset, {
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
  async holds(topic: string, messageId: string): Promise<boolean> {
    const answer = await this.client.ask(ASK.query, {
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
  async ever(topic: string): Promise<number> {
    const { fields } = await this.client.must(`topic ${topic}`, ASK.maxOffset, { topic, queueId: "0" });
    return Number(fields["offset"]);
  }

  /** A broker's settings, as it writes them down. May hold secrets: never to be shown. */
  async settings(): Promise<ReadonlyMap<string, string>> {
    return readProperties((await this.client.must("the broker's settings", ASK.config, {})).body);
  }

  /** As `5.5.0`; null where it says nothing of the kind. */
  async version(): Promise<string | null> {
    const { body } = await this.client.must("the broker's version", ASK.runtime, {});
    const said = (readJson(body) as { table?: Record<string, unknown> }).table?.["brokerVersionDesc"];
    const numbers = typeof said === "string" ? /^V(\d+)_(\d+)_(\d+)/.exec(said) : null;
    return numbers === null ? null : numbers.slice(1).join(".");
  }

  /** Replicas that have what the master has, itself among them; null where it does not say. */
  async inSync(): Promise<number | null> {
    const { body } = await this.client.must("the broker's replicas", ASK.replication, {});
    const slaves = (readJson(body) as { inSyncSlaveNums?: unknown }).inSyncSlaveNums;
    return typeof slaves === "number" ? slaves + 1 : null;
  }
}

/** Lines `name=value`. */
export function readProperties(body: Uint8Array): ReadonlyMap<string, string> {
  const lines = new TextDecoder().decode(body).split("\n");
  return new Map(
    lines.flatMap((line) => {
      const cut = line.indexOf("=");
      return cut > 0 ? [[line.slice(0, cut).trim(), line.slice(cut + 1).trim()] as const] : [];
    }),
  );
}
