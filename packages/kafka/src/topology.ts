import { DEAD_LETTERS, type Outgoing, TallyError, type TopicPlan, type Verdict } from "@tallymq/core/spi";
import type { NewTopic } from "./driver/driver.ts";
import type { ResolvedOptions } from "./options.ts";
import { STEPS, stepOf } from "./delays/ladder.ts";
import { partitionOf } from "./murmur.ts";

/** A partition, as lanes name it. */
export interface Place {
  readonly topic: string;
  readonly partition: number;
}

/** What is known of a topic on the broker. */
interface Known {
  readonly partitions: number;
  readonly accepted: Verdict;
  /** Keyless messages of one batch go to one partition; the next batch's to the next. */
  sticky: number;
}

const ACCEPTED = accepted("unverified");
const REPLICATED = accepted("yes");

/** What Kafka takes as the name of a topic. */
const LEGAL = /^[a-zA-Z0-9._-]{1,249}$/;
/** Bytes of a record beside its body: key, headers, framing. Core takes 64 KiB of headers and 255 bytes of a name. */
export const ROOM: number = 160 * 1024;

/** The group of those who forward what was delayed. No group of a user's is called so. */
export const FORWARDERS = "\0forwarders";

/**
 * What a topic of Tally is on Kafka.
 *
 * A topic is a topic, and a group of it is the consumer group `<topic>.<group>`: its own for each topic, since all members
 * of a group must subscribe to the same topics. Copies for one group alone go to the topic `<topic>.<group>.copies`, which
 * the group's members subscribe to beside the first. What is delayed waits in the topic `<topic>.delays`, of which those who
 * forward are the group `<topic>.delays.forwarders`.
 *
 * Lanes are partitions, numbered as they are met; a number keeps its partition for as long as the transport lives, and a
 * row in the outbox keeps the partition itself, so that what is in doubt is sent to where its first copy went.
 */
export class Topology {
  readonly #o: ResolvedOptions;
  readonly #known: Map<string, Known> = new Map();
  readonly #lanes: Map<string, number[]> = new Map();
  readonly #places: Place[] = [];
  /** Lanes of what is delayed. */
  readonly #steps: Set<number> = new Set();

  constructor(options: ResolvedOptions) {
    this.#o = options;
  }

  topicOf(topic: string): string {
    return this.#o.topics.get(topic)?.topic ?? topic;
  }

  groupOf(topic: string, group: string): string {
    if (group === FORWARDERS) return `${this.delaysOf(topic)}.forwarders`;
    return this.#o.topics.get(topic)?.groups.get(group) ?? `${topic}.${group}`;
  }

  copiesOf(topic: string, group: string): string {
    return `${topic}.${group}.copies`;
  }

  declareOf(topic: string): boolean | "passive" {
    return this.#o.topics.get(topic)?.declare ?? this.#o.declare;
  }

  /** Whether topics that only Tally knows of (copies, delays) are ours to make for it. */
  makes(topic: string): boolean {
    return this.declareOf(topic) !== "passive";
  }

  delaysOf(topic: string): string {
    return `${topic}.delays`;
  }

  /** What a member of the group subscribes to. */
  topicsOf({ name }: TopicPlan, group: string): readonly string[] {
    if (group === FORWARDERS) return [this.delaysOf(name)];
    return hasCopies(group) ? [this.topicOf(name), this.copiesOf(name, group)] : [this.topicOf(name)];
  }

  /**
   * The topics of a plan that are ours to make.
   * @throws TallyError `topology` where Kafka could not take a name
   */
  plans({ name }: TopicPlan, groups: readonly string[], brokers: number): readonly NewTopic[] {
    if (!this.makes(name)) return [];
    const made: NewTopic[] = [];
    const add = (topic: string, partitions: number, more: Readonly<Record<string, string>>): void => {
      made.push(this.#made(topic, partitions, brokers, more));
    };
    // A dead letter waits for a person, for as long as that takes.
    if (this.declareOf(name) === true)
      add(this.topicOf(name), this.#o.partitions, name.endsWith(`.${DEAD_LETTERS}`) ? { "retention.ms": "-1" } : {});
    for (const group of groups) {
      if (!hasCopies(group)) continue;
      add(this.copiesOf(name, group), this.#o.partitions, {});
    }
    return made;
  }

  /** A partition a step. What has been forwarded is let go of by those who did. @throws TallyError as `plans` */
  delaysPlan({ name }: TopicPlan, brokers: number): NewTopic {
    const more = { "retention.ms": "-1", "message.timestamp.type": "LogAppendTime" };
    return this.#made(this.delaysOf(name), STEPS, brokers, more);
  }

  #made(name: string, partitions: number, brokers: number, more: Readonly<Record<string, string>>): NewTopic {
    const replicas = this.#o.replicationFactor ?? Math.min(3, Math.max(1, brokers));
    const config = {
      "min.insync.replicas": String(this.#o.minInsyncReplicas ?? Math.max(1, replicas - 1)),
      "unclean.leader.election.enable": "false",
      "max.message.bytes": String(Math.max(this.#o.maxBytes, this.#o.batchBytes) + ROOM),
    };
    return { name: legal(name), partitions, replicationFactor: replicas, config: { ...config, ...more } };
  }

  /** What the broker says of a topic. @param minIsr null: it did not say; undefined: not asked again */
  learned(topic: string, partitions: number, minIsr: number | null | undefined): void {
    const known = this.#known.get(topic);
    const asked = minIsr !== undefined && minIsr !== null && minIsr > 1 ? REPLICATED : ACCEPTED;
    const accepted = minIsr === undefined && known !== undefined ? known.accepted : asked;
    this.#known.set(topic, { partitions, accepted, sticky: known?.sticky ?? 0 });
  }

  knows(topic: string): boolean {
    return this.#known.has(topic);
  }

  /** 0: it is not known. */
  partitionsOf(topic: string): number {
    return this.#known.get(topic)?.partitions ?? 0;
  }

  forget(topic: string): void {
    this.#known.delete(topic);
  }

  /**
   * The lane of a message; -1 where its topic is not known. Keyless ones have that of the batch that is being filled.
   * @param kept The partition of an earlier copy, or any number that stands for one; null: none
   */
  laneOf(m: Outgoing, kept: number | null): number {
    if (m.delayMs > 0) return this.delayed(m.topic, stepOf(m.delayMs));
    const topic = m.group === null ? this.topicOf(m.topic) : this.copiesOf(m.topic, m.group);
    if (kept === null) return this.laneFor(topic, m.key);
    const known = this.#known.get(topic);
    return known === undefined ? -1 : this.lane(topic, kept % known.partitions);
  }

  /** The partition, for a copy that is in doubt; null for one that waits in a step: how long it waits says where. */
  keptOf(lane: number): number | null {
    const place = this.#places[lane];
    return place === undefined || this.#steps.has(lane) ? null : place.partition;
  }

  /** As `laneOf`, by the name of the topic on the broker and the key, or its bytes. */
  laneFor(topic: string, key: Uint8Array | string | null): number {
    const known = this.#known.get(topic);
    if (known === undefined) return -1;
    return this.lane(topic, key === null ? known.sticky % known.partitions : partitionOf(key, known.partitions));
  }

  /** The lane of a step of what is delayed; -1 as above. */
  delayed(topic: string, step: number): number {
    const known = this.#known.get(this.delaysOf(topic));
    if (known === undefined) return -1;
    const lane = this.lane(this.delaysOf(topic), Math.min(step, known.partitions - 1));
    this.#steps.add(lane);
    return lane;
  }

  lane(topic: string, partition: number): number {
    let lanes = this.#lanes.get(topic);
    if (lanes === undefined) this.#lanes.set(topic, (lanes = []));
    let lane = lanes[partition];
    if (lane === undefined) {
      lane = lanes[partition] = this.#places.length;
      this.#places.push(Object.freeze({ topic, partition }));
    }
    return lane;
  }

  placeOf(lane: number): Place | null {
    return this.#places[lane] ?? null;
  }

  acceptedOn(topic: string): Verdict {
    return this.#known.get(topic)?.accepted ?? ACCEPTED;
  }

  /** A batch has left for this partition: keyless messages begin another one elsewhere. */
  left({ topic, partition }: Place): void {
    const known = this.#known.get(topic);
    if (known !== undefined && known.sticky % known.partitions === partition) known.sticky = partition + 1;
  }
}

/** Nobody sends copies of dead letters to one group. */
function hasCopies(group: string): boolean {
  return group !== DEAD_LETTERS;
}

function legal(topic: string): string {
  if (LEGAL.test(topic) && topic !== "." && topic !== "..") return topic;
  throw new TallyError(
    "topology",
    `Kafka takes no topic ${JSON.stringify(topic)}: names are 1 to 249 letters, digits, dots, hyphens and underscores; name another one in topics`,
  );
}

/** Kafka answers when the replicas have it in memory, and says nothing of disks. */
function accepted(replicated: "yes" | "unverified"): Verdict {
  return Object.freeze({
    kind: "accepted",
    proof: Object.freeze({ routed: "yes", persisted: "unverified", replicated }),
  });
}
