// One thing: a member's session, from its join to its end; what has a life of its own (lanes, commits, handing) stands beside it.
import {
  type Clock,
  type Delivery,
  type Receiver,
  type ReceiverEvents,
  type Settlement,
  type Subscription,
  TallyError,
  raced,
} from "@tallymq/core/spi";
import { Commits } from "./commits.ts";
import type { Assignment, ConsumerEvents, Driver, DriverConsumer, ReceivedRecord } from "./driver/driver.ts";
import { classify } from "./errors.ts";
import { Handing } from "./handing.ts";
import { Lane } from "./lane.ts";
import type { Gap, Positions } from "./positions.ts";
import type { Topology } from "./topology.ts";
import { Watchdog } from "./watchdog.ts";

let epochs = 0;

export interface ReceiverOptions {
  readonly driver: Driver;
  readonly topology: Topology;
  readonly positions: Positions;
  readonly clock: Clock;
  /** What the member shows to others; null: nothing. */
  readonly card: string | null;
  /** The group has rebalanced. */
  readonly rebalanced: () => void;
  /** Milliseconds without a word of the broker after which the client is taken for dead. */
  readonly watchdog: number;
  /** Of one partition in one fetch, at most. */
  readonly fetchBytes: number;
  /** Bodies that are fetched and not handed out, in bytes; as much again may be under way. */
  readonly readAhead: number;
  /** For those who send on what was delayed: `native` of a message is the record itself, and few of a partition are out. */
  readonly forwarding: boolean;
}

/**
 * A session for receiving: one member of a consumer group.
 *
 * Each join gives the member its partitions anew. One that it had before, and of which the broker knows exactly what we
 * told it, goes on as if nothing had happened: nobody else can have had it in between. All others are *revoked*: from there
 * their settlements are no-ops, and what is not committed comes again, here or elsewhere.
 *
 *     joined ──▶ read where the group is ──▶ seek, resume ──▶ fetched ──▶ held ──▶ out (credit) ──▶ acked ──▶ committed
 *       ▲                                                                                                        │
 *       └──────────────────────────────── the group rebalances: revoked, or kept ◀───────────────────────────────┘
 */
export class KafkaReceiver implements Receiver {
  readonly #subscription: Subscription;
  readonly #events: ReceiverEvents;
  readonly #o: ReceiverOptions;
  readonly #topics: readonly string[];
  /** The first assignment is in use, or will never be. */
  readonly #ready: PromiseWithResolvers<void> = Promise.withResolvers<void>();
  readonly #gone: AbortController = new AbortController();
  #consumer: DriverConsumer | null = null;
  #lanes: Map<number, Lane> = new Map();
  #assignment: Assignment = new Map();
  #joins = 0;
  readonly #handing: Handing;
  readonly #commits: Commits;
  readonly #watchdog: Watchdog;
  #stopped = false;
  #opened = false;
  #over = false;
  #error: TallyError | null = null;
  #disposed: Promise<void> | null = null;

  private constructor(subscription: Subscription, events: ReceiverEvents, options: ReceiverOptions) {
    this.#subscription = subscription;
    this.#events = events;
    this.#o = options;
    this.#topics = options.topology.topicsOf(subscription.topic, subscription.group);
    this.#ready.promise.catch(() => {});
    this.#handing = new Handing(subscription, events, () => this.#consumer, options.forwarding, options.readAhead);
    this.#commits = new Commits(
      options.clock,
      () => this.#lanes.values(),
      (commits) => this.#consumer?.commit(commits) ?? Promise.resolve(),
    );
    this.#watchdog = new Watchdog(options.clock, options.watchdog, (ms) => {
      const what = `${this.#what}: no word of the brokers for ${Math.round(ms)} ms`;
      this.#lost(new TallyError("session-lost", what, { retryable: true }));
    });
  }

  static async open(
    subscription: Subscription,
    events: ReceiverEvents,
    options: ReceiverOptions,
    signal: AbortSignal,
  ): Promise<KafkaReceiver> {
    const receiver = new KafkaReceiver(subscription, events, options);
    const { topology, driver } = options;
    const group = topology.groupOf(subscription.topic.name, subscription.group);
    try {
      const joining = driver.consumer(
        { group, topics: receiver.#topics, card: options.card, fetchBytes: receiver.#fetchBytes },
        receiver.#of(),
      );
      receiver.#consumer = await raced(joining, signal, (late) => void late.close());
      receiver.#assigned();
      await raced(receiver.#ready.promise, signal);
      if (receiver.#error !== null) throw receiver.#error;
      receiver.#opened = true;
      receiver.#watchdog.start();
      return receiver;
    } catch (thrown) {
      receiver.#end();
      void receiver.#consumer?.close();
      throw signal.aborted ? signal.reason : classify(thrown, `group ${JSON.stringify(group)}`, "opening");
    }
  }

  /** Fires when the session is over. */
  get gone(): AbortSignal {
    return this.#gone.signal;
  }

  settle(batch: readonly Settlement[]): void {
    if (this.#over) return;
    for (const { kind, delivery } of batch) {
      const lane = this.#lanes.get(delivery.lane);
      // Nothing is given back to Kafka: what is released stays out, and core does not release here (`release: "none"`).
      if (kind !== "ack" || lane === undefined || lane.epoch !== delivery.epoch) continue;
      if (lane.ack(delivery)) this.#handing.closed(1);
    }
    this.#commits.due();
    this.#handing.due();
  }

  extend(delivery: Delivery): Promise<boolean> {
    const lane = this.#lanes.get(delivery.lane);
    return Promise.resolve(
      !this.#over && lane !== undefined && lane.epoch === delivery.epoch && lane.out.has(delivery.token as number),
    );
  }

  pause(lane: number): void {
    const of = this.#lanes.get(lane);
    if (of !== undefined) of.paused = true;
  }

  resume(lane: number): void {
    const of = this.#lanes.get(lane);
    if (of === undefined) return;
    of.paused = false;
    this.#handing.due();
  }

  stop(): Promise<void> {
    this.#stopped = true;
    this.#handing.stop();
    for (const { topic, partition } of this.#lanes.values()) this.#consumer?.pause(topic, partition);
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#leave();
    return this.#disposed;
  }

  async #leave(): Promise<void> {
    if (!this.#over) {
      this.#stopped = true;
      this.#handing.stop();
      await this.#commits.flush();
      const error = new TallyError("session-lost", `${this.#what}: the last commit did not take`, { retryable: true });
      this.#giveUp(this.#lanes.values(), error);
    }
    this.#end();
    await this.#consumer?.close();
  }

  // ── the group ───────────────────────────────────────────────────────────────

  #of(): ConsumerEvents {
    return {
      joined: (assignment) => this.#joined(assignment),
      fetched: (topic, partition, records) => this.#fetched(topic, partition, records),
      strayed: (topic, partition) => this.#strayed(topic, partition),
      alive: () => this.#watchdog.heard(),
      crashed: (thrown) => this.#lost(classify(thrown, this.#what, "open")),
    };
  }

  /** Of one partition: should one fetch after the other bring that much of each, it is no more than is held ahead. */
  get #fetchBytes(): number {
    const { topology, fetchBytes, readAhead } = this.#o;
    const partitions = this.#topics.reduce((sum, topic) => sum + topology.partitionsOf(topic), 0);
    return Math.max(1, Math.min(fetchBytes, Math.floor(readAhead / Math.max(1, partitions))));
  }

  get #what(): string {
    return `${this.#subscription.topic.name} / ${this.#subscription.group}`;
  }

  #joined(assignment: Assignment): void {
    if (this.#over) return;
    this.#joins++;
    this.#o.rebalanced();
    this.#commits.hold();
    this.#handing.hold();
    this.#assignment = assignment;
    this.#watchdog.heard();
    const mine = new Set<number>();
    for (const [topic, partitions] of assignment)
      for (const partition of partitions) mine.add(this.#o.topology.lane(topic, partition));
    this.#revoke([...this.#lanes.values()].filter(({ number }) => !mine.has(number)));
    // The driver's consumer may be known only after its first join.
    if (this.#consumer !== null) this.#assigned();
  }

  #assigned(): void {
    const joins = this.#joins;
    void this.#begin(this.#assignment, joins).catch((thrown: unknown) => {
      if (joins === this.#joins) this.#lost(classify(thrown, this.#what, "open"));
    });
  }

  /** Reads where the group is, and goes on from there. */
  async #begin(assignment: Assignment, joins: number): Promise<void> {
    // A commit that is out could be taken after we looked.
    await this.#commits.idle();
    const starts = await this.#o.positions.read(this.#subscription, assignment, this.#gone.signal);
    if (this.#over || joins !== this.#joins) return;
    const fatal = starts.map(({ gap }) => this.#gap(gap)).find((error) => error !== null);
    if (fatal !== undefined) return this.#lost(fatal);
    const epoch = ++epochs;
    const kept = starts.filter(({ lane, from }) => this.#lanes.get(lane)?.continues(from)).map(({ lane }) => lane);
    this.#revoke([...this.#lanes.values()].filter(({ number }) => !kept.includes(number)));
    for (const { lane: number, topic, partition, from } of starts) {
      const lane = this.#lanes.get(number) ?? new Lane(number, topic, partition, epoch, from);
      this.#lanes.set(number, lane);
      lane.full = false;
      this.#consumer?.seek(topic, partition, lane.progress.next);
      if (!this.#stopped) this.#consumer?.resume(topic, partition);
    }
    this.#ready.resolve();
    this.#commits.resume();
    this.#handing.resume(this.#lanes.values());
  }

  /** Surfaced; null if it can go on. */
  #gap(gap: Gap | null): TallyError | null {
    if (gap === null) return null;
    this.#events.gap(gap.lane, String(gap.from), String(gap.to));
    return gap.error;
  }

  #revoke(lanes: readonly Lane[], why: string = "the group has rebalanced"): void {
    if (lanes.length === 0) return;
    for (const lane of lanes) {
      this.#lanes.delete(lane.number);
      this.#handing.closed(lane.out.size);
    }
    for (const [epoch, some] of Map.groupBy(lanes, (lane) => lane.epoch))
      this.#events.revoked(
        epoch,
        some.map(({ number }) => number),
      );
    this.#giveUp(lanes, new TallyError("session-lost", `${this.#what}: ${why}`, { retryable: true }));
  }

  /** What was acked and is not committed comes again. */
  #giveUp(lanes: Iterable<Lane>, error: TallyError): void {
    const acked = [...lanes].flatMap((lane) => lane.acked);
    if (acked.length > 0) this.#events.unsettled(acked, error);
  }

  // ── deliveries ──────────────────────────────────────────────────────────────

  #fetched(topic: string, partition: number, records: readonly ReceivedRecord[]): void {
    if (this.#over || this.#stopped) return;
    const lane = this.#lanes.get(this.#o.topology.lane(topic, partition));
    if (lane === undefined) return;
    lane.fetched(records);
    this.#handing.brake(lane);
    this.#handing.due();
  }

  /** What was expected is not what is there: a fetch of an earlier assignment that was late, or a gap. */
  #strayed(topic: string, partition: number): void {
    const lane = this.#lanes.get(this.#o.topology.lane(topic, partition));
    if (this.#over || lane === undefined) return;
    const joins = this.#joins;
    const at = this.#o.positions.gapAt(this.#subscription, lane, this.#gone.signal);
    const looking = at.then(async (gap) => {
      if (this.#over || joins !== this.#joins || this.#lanes.get(lane.number) !== lane) return;
      // kafkajs has committed a reset of its own: without this the next one to start would know of no gap.
      if (gap !== null && gap.error !== null) await this.#commits.restore(lane);
      const fatal = this.#gap(gap);
      if (fatal !== null) return this.#lost(fatal);
      if (gap !== null && gap.to < lane.progress.next) this.#beginAnew(lane, gap.to);
      this.#consumer?.seek(topic, partition, gap === null ? lane.progress.next : gap.to);
      if (!this.#stopped) this.#consumer?.resume(topic, partition);
      lane.full = false;
    });
    looking.catch((thrown: unknown) => this.#lost(classify(thrown, this.#what, "open")));
  }

  /** The log ends before where we were: what comes now bears numbers that the lane has had, of messages that it has not. */
  #beginAnew(lane: Lane, at: number): void {
    const { number, topic, partition } = lane;
    this.#revoke([lane], `${topic}/${partition} was made anew, or has lost its end`);
    const fresh = new Lane(number, topic, partition, ++epochs, { offset: at, metadata: "" });
    this.#lanes.set(number, fresh);
    this.#handing.replace(lane, fresh);
  }

  // ── the end ─────────────────────────────────────────────────────────────────

  #end(): void {
    this.#over = true;
    this.#gone.abort(new TallyError("closed", "the session is over"));
    this.#handing.stop();
    this.#commits.stop();
    this.#watchdog.stop();
  }

  #lost(error: TallyError): void {
    if (this.#over) return;
    this.#end();
    this.#error = error;
    this.#ready.reject(error);
    // While it opens the rejection says it all, and closes.
    if (!this.#opened) return;
    this.#giveUp(this.#lanes.values(), error);
    this.#events.lost(error);
    void this.#consumer?.close();
  }
}
