/**
 * What the adapter asks of a Kafka client: little, so that another client can take the place of kafkajs. A driver has no
 * policy; what its client does by itself that could lose or double (auto-commit, resets of an offset, retries under another
 * sequence number, restarts) it switches off or tells.
 *
 * Opening is one try. Errors are the client's own; `errors.ts` gives them their meaning.
 */
export interface Driver {
  /** Connected, idempotent, acks of all replicas. */
  producer(): Promise<DriverProducer>;
  /** Joined its group; `events.joined` has been called. */
  consumer(plan: ConsumerPlan, events: ConsumerEvents): Promise<DriverConsumer>;
  admin(): Promise<DriverAdmin>;
}

/** Text goes as UTF-8. */
export interface DriverRecord {
  readonly key: Uint8Array | string | null;
  readonly value: Uint8Array;
  /** Names and their values in turn. */
  readonly headers: readonly string[];
}

/** What the broker's answer says of one partition. */
export interface Produced {
  readonly partition: number;
  readonly errorCode: number;
  /** Of the first record; null where the answer names none. */
  readonly offset: number | null;
}

export interface DriverProducer {
  /**
   * One batch to one partition. May repeat it under the same sequence number, which the broker drops when it has the first.
   * Resolves with all that the answer says, unjudged: nobody but the caller decides what counts.
   * @throws SendFailure
   */
  send(topic: string, partition: number, records: readonly DriverRecord[]): Promise<readonly Produced[]>;
  /** What is out rejects, now or soon; nothing is repeated any more. */
  close(): Promise<void>;
}

/** A send that was rejected. */
export class SendFailure extends Error {
  override readonly name: string = "SendFailure";
  /** Times that the batch was handed to a connection. What the last answer says is no word about the others. */
  readonly attempts: number;

  constructor(attempts: number, cause: unknown) {
    super("the batch was rejected", { cause });
    this.attempts = attempts;
  }
}

export interface ConsumerPlan {
  readonly group: string;
  readonly topics: readonly string[];
  /** What it shows to whoever asks for the group's members; null: nothing. */
  readonly card: string | null;
  /** Of one partition in one fetch. */
  readonly fetchBytes: number;
}

/** Partitions by topic. */
export type Assignment = ReadonlyMap<string, readonly number[]>;

export interface ReceivedRecord {
  readonly offset: number;
  /** Wall-clock milliseconds; the sender's, or the broker's, as the topic's `message.timestamp.type` has it. */
  readonly timestamp: number;
  readonly key: Uint8Array | null;
  readonly value: Uint8Array | null;
  /** A header may come more than once, and under any name: values that are no bytes are not the sender's. */
  readonly headers: Readonly<Record<string, unknown>>;
  /** Where it lies, and the driver's own message: `{ topic, partition, message }`. */
  readonly native: unknown;
  /**
   * Why its batch could not be decompressed; null for one that is what was sent. Instead of the batch come as many of these
   * as it has records, the first with the batch as its value.
   */
  readonly unreadable: string | null;
}

/** Synchronous. */
export interface ConsumerEvents {
  /**
   * The member has partitions of a new generation, and commits carry that from here on. Nothing is fetched of any of them
   * until it has been sought and resumed.
   */
  joined(assignment: Assignment): void;
  /**
   * Records of a partition in the order of their offsets, none below what was sought. Of all four codecs, and inflated up to
   * a bound.
   */
  fetched(topic: string, partition: number, records: readonly ReceivedRecord[]): void;
  /**
   * What was fetched of a partition does not begin where it should: it was dropped, and the partition is paused. Seek and
   * resume it, once it is clear what is still there.
   */
  strayed(topic: string, partition: number): void;
  /** The broker has answered: a heartbeat, or a fetch. */
  alive(): void;
  /** The client has given up, or never will. Once; what follows is `close`. */
  crashed(thrown: unknown): void;
}

export interface Commit {
  readonly topic: string;
  readonly partition: number;
  /** Of the next message, not of the last. */
  readonly offset: number;
  readonly metadata: string;
}

export interface DriverConsumer {
  seek(topic: string, partition: number, offset: number): void;
  pause(topic: string, partition: number): void;
  resume(topic: string, partition: number): void;
  /** One try, under the generation that the member has in the tick of the call: after a rebalance the broker refuses it. */
  commit(commits: readonly Commit[]): Promise<void>;
  /** Leaves the group. */
  close(): Promise<void>;
}

export interface NewTopic {
  readonly name: string;
  readonly partitions: number;
  readonly replicationFactor: number;
  readonly config: Readonly<Record<string, string>>;
}

export interface Committed {
  readonly partition: number;
  /** Null: the group has none. */
  readonly offset: number | null;
  readonly metadata: string;
}

export interface Range {
  readonly partition: number;
  /** Of the oldest message that is there. */
  readonly low: number;
  /** Of the next one that comes. */
  readonly high: number;
}

/** One partition, as the cluster has it. */
export interface Replicas {
  readonly partition: number;
  /** Ids of brokers. */
  readonly replicas: readonly number[];
  /** Those of them that have all of it. */
  readonly inSync: readonly number[];
}

export interface DriverAdmin {
  /** Their ids. */
  brokers(): Promise<readonly number[]>;
  /** Those that exist already stay as they are. The others may be heard of a little later only. */
  create(topics: readonly NewTopic[]): Promise<void>;
  /** Of each topic that exists. */
  partitions(topics: readonly string[]): Promise<ReadonlyMap<string, number>>;
  /** Null: there is no such topic. Makes none. */
  replicas(topic: string): Promise<readonly Replicas[] | null>;
  /** Values of a topic's settings. */
  settings(topic: string, names: readonly string[]): Promise<ReadonlyMap<string, string>>;
  /** Values of a broker's settings. */
  brokerSettings(broker: number, names: readonly string[]): Promise<ReadonlyMap<string, string>>;
  committed(group: string, topic: string): Promise<readonly Committed[]>;
  ranges(topic: string): Promise<readonly Range[]>;
  /** Of each partition, the offset of the first message that is no older than this wall-clock time; its end without any. */
  since(topic: string, time: number): Promise<readonly { readonly partition: number; readonly offset: number }[]>;
  /**
   * What the members of a group show. `settled`: false while it rebalances; the cluster keeps to itself what they show then.
   * A group that is not there has no members.
   */
  members(group: string): Promise<{ readonly settled: boolean; readonly cards: readonly string[] }>;
  /** Lets go of all messages of each of these partitions below its offset. */
  forget(topic: string, below: readonly { readonly partition: number; readonly offset: number }[]): Promise<void>;
  close(): Promise<void>;
}
