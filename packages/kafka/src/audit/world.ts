/** One partition, as the cluster has it now. */
export interface PartitionState {
  readonly partition: number;
  /** Brokers that are to have it. */
  readonly replicas: readonly number[];
  /** Those of them that have all of it. */
  readonly inSync: readonly number[];
}

/** What a topic is for: the topic itself, copies for one group, dead letters, what is delayed. */
export type Purpose = "own" | "copies" | "letters" | "delays";

export interface TopicState {
  readonly name: string;
  readonly purpose: Purpose;
  /** Null: it is not there. `leaderless`: nobody leads some of them. `hidden`: not for this user to see. */
  readonly partitions: readonly PartitionState[] | null | "leaderless" | "hidden";
  /** By name; `hidden` as above. */
  readonly settings: ReadonlyMap<string, string> | "hidden";
  /** Longest time that a delivery is held here, in milliseconds; 0: it is not consumed here. */
  readonly holdsMs: number;
  /** How old a row of the outbox may be that is still sent here, in milliseconds; 0: none is. */
  readonly outboxMs: number;
  /** How long the inbox of its consumers remembers, in milliseconds; null: it has no part in this. */
  readonly remembersMs: number | null;
}

/** How far a group is in one partition. */
export interface GroupPartition {
  readonly topic: string;
  readonly partition: number;
  /** Of the next message; null: the group has never committed. */
  readonly committed: number | null;
  /** Of what is beyond that, so many are done. */
  readonly beyond: number;
  readonly low: number;
  readonly high: number;
  /** Messages below this offset are older than half of what the topic keeps; null: it keeps everything, or it is not known. */
  readonly halfKept: number | null;
}

export interface GroupState {
  /** Of the consumer group, on the broker. */
  readonly name: string;
  /** `hidden`: not for this user to see. */
  readonly partitions: readonly GroupPartition[] | "hidden";
}

/** What the checks are about: a cluster as it was seen, and nothing that they would have to ask for. */
export interface World {
  readonly destination: string;
  /** For commands: `host:port,host:port`. */
  readonly bootstrap: string;
  /** Ids of the brokers. */
  readonly brokers: readonly number[];
  /** `auto.create.topics.enable`; `hidden`: not for this user to see. */
  readonly autoCreate: boolean | "hidden";
  /** What a message may take, with its headers, and what a batch of several may. */
  readonly messageBytes: number;
  readonly batchBytes: number;
  readonly topics: readonly TopicState[];
  readonly groups: readonly GroupState[];
}
