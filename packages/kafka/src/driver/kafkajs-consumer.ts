import type { Consumer, EachBatchPayload, Kafka, KafkaMessage } from "kafkajs";
import { showing } from "./cards.ts";
import { holdFetches } from "./clusters.ts";
import { whyUnreadable } from "./stand-ins.ts";
import type { Commit, ConsumerEvents, ConsumerPlan, DriverConsumer, ReceivedRecord } from "./driver.ts";

/** Milliseconds and bytes. */
export interface ConsumerTimes {
  readonly sessionTimeout: number;
  readonly heartbeat: number;
  readonly rebalanceTimeout: number;
  /** A fetch that finds nothing is answered after so long: also the longest that a partition waits that is resumed beside an idle one. */
  readonly fetchWait: number;
}

/** A node of which all partitions are paused is looked at again after so many milliseconds. */
const LOOK_AGAIN_MS = 10;

type CommitNow = EachBatchPayload["commitOffsetsIfNecessary"];

/**
 * A member of a group, over kafkajs. What kafkajs would do by itself and is switched off here: commits, resets of an offset
 * (each partition is sought before anything is fetched of it), restarts.
 *
 * Batches are handed over at once, so that its loop of fetches and heartbeats never waits for anybody.
 */
export async function joinGroup(
  client: Kafka,
  plan: ConsumerPlan,
  times: ConsumerTimes,
  events: ConsumerEvents,
): Promise<DriverConsumer> {
  holdFetches(client, times.fetchWait);
  const consumer = client.consumer({
    groupId: plan.group,
    sessionTimeout: times.sessionTimeout,
    heartbeatInterval: times.heartbeat,
    rebalanceTimeout: times.rebalanceTimeout,
    maxWaitTimeInMs: LOOK_AGAIN_MS,
    maxBytesPerPartition: plan.fetchBytes,
    allowAutoTopicCreation: false,
    partitionAssigners: [showing(plan.card)],
    retry: { retries: 3, initialRetryTime: 100, maxRetryTime: 1_000, restartOnFailure: () => Promise.resolve(false) },
  });
  const member = new Member(consumer, events);
  const failed = new Promise<never>((_, reject) => member.onFirst(reject));
  failed.catch(() => {});
  try {
    await consumer.connect();
    // Where it would begin by itself; `joined` comes before it can.
    await consumer.subscribe({ topics: [...plan.topics], fromBeginning: true });
    const running = consumer.run({
      autoCommit: false,
      eachBatchAutoResolve: false,
      eachBatch: (payload) => member.batch(payload),
    });
    // `run` also resolves when it has crashed at once.
    await Promise.race([failed, Promise.all([running, member.first])]);
    return member;
  } catch (thrown) {
    void member.close();
    throw thrown;
  }
}

class Member implements DriverConsumer {
  readonly first: Promise<void>;
  readonly #consumer: Consumer;
  readonly #events: ConsumerEvents;
  readonly #unlisten: (() => void)[];
  #joined: () => void = () => {};
  #failed: ((thrown: unknown) => void) | null = null;
  /** Commits without a retry of kafkajs' own, which could come under a later generation. */
  #commit: CommitNow | null = null;
  /** By topic and partition, the offset that the next batch begins at. */
  readonly #next: Map<string, number> = new Map();
  #over = false;
  #closing: Promise<void> | null = null;

  constructor(consumer: Consumer, events: ConsumerEvents) {
    this.#consumer = consumer;
    this.#events = events;
    this.first = new Promise((resolve) => (this.#joined = resolve));
    const { GROUP_JOIN, HEARTBEAT, FETCH, START_BATCH_PROCESS, CRASH } = consumer.events;
    this.#unlisten = [
      // Emitted in the tick in which the new generation is taken up, and before anything is fetched under it.
      consumer.on(GROUP_JOIN, ({ payload }) => this.#join(payload.memberAssignment)),
      consumer.on(HEARTBEAT, () => this.#alive()),
      consumer.on(FETCH, () => this.#alive()),
      // Batches of nothing but markers of transactions pass without a call.
      consumer.on(START_BATCH_PROCESS, ({ payload: { topic, partition, batchSize, lastOffset } }) => {
        const key = keyOf(topic, partition);
        const next = Number(lastOffset) + 1;
        if (batchSize === 0 && next > (this.#next.get(key) ?? next)) this.#next.set(key, next);
      }),
      consumer.on(CRASH, ({ payload }) => this.#crash(payload.error)),
    ];
  }

  onFirst(failed: (thrown: unknown) => void): void {
    this.#failed = failed;
  }

  batch(payload: EachBatchPayload): Promise<void> {
    this.#commit = payload.commitOffsetsIfNecessary;
    const { topic, partition, messages } = payload.batch;
    if (this.#over || payload.isStale()) return Promise.resolve();
    const key = keyOf(topic, partition);
    const { fetchedOffset } = payload.batch as unknown as { readonly fetchedOffset: string };
    // Of another generation's fetch that is late, or after a reset of kafkajs' own (the offset is no longer there).
    if (Number(fetchedOffset) !== this.#next.get(key)) {
      this.#consumer.pause([{ topic, partitions: [partition] }]);
      this.#events.strayed(topic, partition);
      return Promise.resolve();
    }
    payload.resolveOffset(payload.batch.lastOffset());
    this.#next.set(key, Number(payload.batch.lastOffset()) + 1);
    this.#events.fetched(topic, partition, received(topic, partition, messages));
    return Promise.resolve();
  }

  seek(topic: string, partition: number, offset: number): void {
    if (this.#over) return;
    this.#next.set(keyOf(topic, partition), offset);
    this.#consumer.seek({ topic, partition, offset: String(offset) });
  }

  pause(topic: string, partition: number): void {
    if (!this.#over) this.#consumer.pause([{ topic, partitions: [partition] }]);
  }

  resume(topic: string, partition: number): void {
    if (!this.#over) this.#consumer.resume([{ topic, partitions: [partition] }]);
  }

  async commit(commits: readonly Commit[]): Promise<void> {
    // Whoever commits has had a batch.
    if (this.#commit === null) return;
    const topics = Map.groupBy(commits, ({ topic }) => topic);
    await this.#commit({
      topics: [...topics].map(([topic, partitions]) => ({
        topic,
        // Also for a single one: kafkajs hands these on to its encoder, which takes the metadata.
        partitions: partitions.map(({ partition, offset, metadata }) => ({
          partition,
          offset: String(offset),
          metadata,
        })),
      })),
    });
  }

  close(): Promise<void> {
    this.#over = true;
    this.#closing ??= this.#leave();
    return this.#closing;
  }

  async #leave(): Promise<void> {
    for (const unlisten of this.#unlisten) unlisten();
    await this.#consumer.disconnect().catch(() => {});
  }

  #join(assigned: Readonly<Record<string, readonly number[]>>): void {
    if (this.#over) return;
    const assignment = new Map(Object.entries(assigned));
    this.#next.clear();
    for (const [topic, partitions] of assignment) this.#consumer.pause([{ topic, partitions: [...partitions] }]);
    this.#events.joined(assignment);
    this.#joined();
  }

  #alive(): void {
    if (!this.#over) this.#events.alive();
  }

  #crash(error: unknown): void {
    if (this.#over) return;
    const failed = this.#failed;
    failed?.(error);
    this.#events.crashed(error);
  }
}

function received(topic: string, partition: number, messages: readonly KafkaMessage[]): readonly ReceivedRecord[] {
  // Those of one batch lie in one piece of memory.
  let memory: ArrayBufferLike | null = null;
  let unreadable: string | null = null;
  return messages.map((message): ReceivedRecord => {
    const { value } = message;
    if (value !== null && value.buffer !== memory) {
      memory = value.buffer;
      unreadable = whyUnreadable(value);
    }
    return {
      offset: Number(message.offset),
      timestamp: Number(message.timestamp),
      key: message.key,
      value,
      headers: message.headers ?? {},
      native: { topic, partition, message },
      unreadable: value === null ? null : unreadable,
    };
  });
}

function keyOf(topic: string, partition: number): string {
  return `${topic}/${partition}`;
}
