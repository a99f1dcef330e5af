import type { Host } from "@tallymq/core/spi";
import { type VirtualClock, virtualClock } from "@tallymq/testkit";
import type {
  Commit,
  Committed,
  ConsumerEvents,
  ConsumerPlan,
  Driver,
  DriverAdmin,
  DriverConsumer,
  DriverProducer,
  DriverRecord,
  NewTopic,
  Produced,
  Range,
  ReceivedRecord,
} from "../src/driver/driver.ts";
import { type KafkaOptions, resolveKafka } from "../src/options.ts";
import { KafkaTransport } from "../src/transport.ts";

export const SIGNAL: AbortSignal = new AbortController().signal;

/** One request to the broker, answered by the test. */
export interface Request {
  readonly topic: string;
  readonly partition: number;
  readonly records: readonly DriverRecord[];
  readonly producer: number;
  answer(answer: readonly Produced[]): void;
  fail(thrown: unknown): void;
}

/** Ids of the messages of a request. */
export function ids({ records }: Request): readonly string[] {
  return records.map((record) => headersOf(record)["tally-id"]!);
}

/** By name. */
export function headersOf({ headers }: DriverRecord): Record<string, string> {
  const pairs: [string, string][] = [];
  for (let at = 0; at < headers.length; at += 2) pairs.push([headers[at]!, headers[at + 1]!]);
  return Object.fromEntries(pairs);
}

export function taken(request: Request, offset = 0): void {
  request.answer([{ partition: request.partition, errorCode: 0, offset }]);
}

/** Partitions of a topic for delays. */
const ALL: readonly number[] = Array.from({ length: 25 }, (_, step) => step);

/** A consumer of the client's, moved by the test. */
export class FakeMember implements DriverConsumer {
  readonly plan: ConsumerPlan;
  readonly events: ConsumerEvents;
  /** `seek orders/0 12`, `pause orders/0`, `resume orders/0`, `close`. */
  readonly journal: string[] = [];
  readonly commits: (readonly Commit[])[] = [];
  /** What the next commits come to; by default the broker takes them. */
  refuse: Error | null = null;
  /** They are answered only then. */
  answered: Promise<void> | null = null;
  readonly #driver: FakeDriver;

  constructor(plan: ConsumerPlan, events: ConsumerEvents, driver: FakeDriver) {
    this.plan = plan;
    this.events = events;
    this.#driver = driver;
  }

  seek(topic: string, partition: number, offset: number): void {
    this.journal.push(`seek ${topic}/${partition} ${offset}`);
  }

  pause(topic: string, partition: number): void {
    this.journal.push(`pause ${topic}/${partition}`);
  }

  resume(topic: string, partition: number): void {
    this.journal.push(`resume ${topic}/${partition}`);
  }

  async commit(commits: readonly Commit[]): Promise<void> {
    this.commits.push(commits);
    const { refuse } = this;
    if (this.answered !== null) await this.answered;
    if (refuse !== null) throw refuse;
    for (const { topic, partition, offset, metadata } of commits)
      this.#driver.committed.set(`${topic}/${partition}`, { partition, offset, metadata });
  }

  close(): Promise<void> {
    this.journal.push("close");
    return Promise.resolve();
  }

  /** Messages with these offsets come. */
  fetch(topic: string, partition: number, ...offsets: readonly number[]): void {
    this.events.fetched(topic, partition, offsets.map(received));
  }

  /** The last commit of this partition. */
  last(partition: number, topic = "orders"): Commit | undefined {
    return this.commits.flat().findLast((one) => one.partition === partition && one.topic === topic);
  }
}

export function received(offset: number): ReceivedRecord {
  const headers = { "tally-id": Buffer.from(`m${offset}`), "tally-producer": Buffer.from("shop") };
  return { offset, timestamp: 0, key: null, value: Buffer.from("{}"), headers, native: null, unreadable: null };
}

/** A cluster that does what the test says. */
export class FakeDriver implements Driver {
  readonly clock: VirtualClock = virtualClock();
  readonly requests: Request[] = [];
  readonly members: FakeMember[] = [];
  /** Partitions that the next member gets of `orders` when it joins. */
  assigned: readonly number[] = [0, 1];
  readonly partitions: Map<string, number> = new Map();
  readonly made: NewTopic[] = [];
  /** By `topic/partition`. */
  readonly committed: Map<string, Committed> = new Map();
  readonly ranges: Map<string, Range> = new Map();
  minIsr = "2";
  brokers = 3;
  /** More settings of a topic. */
  settingsOf: (topic: string) => Readonly<Record<string, string>> = () => ({});
  /** What a question comes to instead of an answer; null: it is answered. */
  denied: (what: "replicas" | "settings" | "brokerSettings" | "committed") => Promise<never> | null = () => null;
  /** What the members of groups show. */
  shown: () => Promise<{ readonly settled: boolean; readonly cards: readonly string[] }> = () =>
    Promise.resolve({ settled: true, cards: this.members.flatMap(({ plan }) => plan.card ?? []) });
  admins = { opened: 0, closed: 0 };
  producers = 0;
  /** What the cluster says of groups comes only then. */
  gate: Promise<void> = Promise.resolve();
  /** And what it says of offsets. */
  rangesGate: Promise<void> = Promise.resolve();
  closed: number[] = [];
  readonly forgotten: string[] = [];
  /** Topics, and times. */
  readonly since: string[] = [];

  /** @param host By default one in virtual time. */
  transport(
    options: Partial<KafkaOptions> = {},
    host: Host = {
      service: "shop",
      run: "0123456789abcdef0123456789abcdef",
      clock: this.clock,
      random: { unit: () => 0.5, bytes: (length) => new Uint8Array(length) },
    },
  ): KafkaTransport {
    return new KafkaTransport(resolveKafka({ brokers: ["localhost:9092"], partitions: 2, ...options }), host, this);
  }

  producer(): Promise<DriverProducer> {
    const producer = ++this.producers;
    return Promise.resolve({
      send: (topic, partition, records) =>
        new Promise<readonly Produced[]>((answer, fail) => {
          this.requests.push({ topic, partition, records, producer, answer, fail });
        }),
      close: () => {
        this.closed.push(producer);
        return Promise.resolve();
      },
    });
  }

  consumer(plan: ConsumerPlan, events: ConsumerEvents): Promise<DriverConsumer> {
    const member = new FakeMember(plan, events, this);
    this.members.push(member);
    events.joined(new Map(plan.topics.slice(0, 1).map((topic) => [topic, topic === "orders" ? this.assigned : ALL])));
    return Promise.resolve(member);
  }

  admin(): Promise<DriverAdmin> {
    this.admins.opened++;
    return Promise.resolve({
      brokers: () => Promise.resolve(this.#brokers()),
      create: (topics) => {
        for (const topic of topics) {
          this.made.push(topic);
          if (!this.partitions.has(topic.name)) this.partitions.set(topic.name, topic.partitions);
        }
        return Promise.resolve();
      },
      partitions: (topics) =>
        Promise.resolve(new Map(topics.flatMap((t) => (this.partitions.has(t) ? [[t, this.partitions.get(t)!]] : [])))),
      replicas: (topic) =>
        this.denied("replicas") ??
        Promise.resolve(
          this.partitions.has(topic)
            ? this.#each(topic, (_, partition) => ({ partition, replicas: this.#brokers(), inSync: this.#brokers() }))
            : null,
        ),
      settings: (topic) =>
        this.denied("settings") ??
        Promise.resolve(new Map([["min.insync.replicas", this.minIsr], ...Object.entries(this.settingsOf(topic))])),
      brokerSettings: () =>
        this.denied("brokerSettings") ?? Promise.resolve(new Map([["auto.create.topics.enable", "false"]])),
      since: (topic, time) => {
        this.since.push(`${topic} ${time}`);
        const all = this.#each(topic, (at, partition) => ({ partition, offset: this.ranges.get(at)?.low ?? 0 }));
        return Promise.resolve(all);
      },
      committed: async (_group, topic) => {
        await this.denied("committed");
        await this.gate;
        return this.#each(
          topic,
          (at, partition) => this.committed.get(at) ?? { partition, offset: null, metadata: "" },
        );
      },
      ranges: async (topic) => {
        await this.rangesGate;
        return this.#each(topic, (at, partition) => this.ranges.get(at) ?? { partition, low: 0, high: 1e9 });
      },
      members: () => this.shown(),
      forget: (topic, below) => {
        for (const { partition, offset } of below) this.forgotten.push(`${topic}/${partition} ${offset}`);
        return Promise.resolve();
      },
      close: () => {
        this.admins.closed++;
        return Promise.resolve();
      },
    });
  }

  #brokers(): number[] {
    return Array.from({ length: this.brokers }, (_, at) => at + 1);
  }

  #each<T>(topic: string, of: (at: string, partition: number) => T): T[] {
    return Array.from({ length: this.partitions.get(topic) ?? 2 }, (_, n) => of(`${topic}/${n}`, n));
  }
}
