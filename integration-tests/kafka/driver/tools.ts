import { type Admin, CompressionTypes, Kafka, logLevel } from "kafkajs";
import type {
  Assignment,
  ConsumerEvents,
  Driver,
  DriverAdmin,
  DriverConsumer,
  DriverRecord,
  ReceivedRecord,
} from "../../../packages/kafka/src/driver/driver.ts";
import { until } from "../../brokers/engine/wait.ts";
import { uniqueName } from "../../brokers/rabbitmq/node.ts";
import type { DriverRig } from "./case.ts";

const WAIT_MS = 30_000;

export async function withAdmin<T>(driver: Driver, use: (admin: DriverAdmin) => Promise<T>): Promise<T> {
  const admin = await driver.admin();
  try {
    return await use(admin);
  } finally {
    await admin.close();
  }
}

/** A topic of its own. */
export async function made(
  { node, driver }: DriverRig,
  partitions: number,
  config: Readonly<Record<string, string>> = {},
): Promise<string> {
  const name = uniqueName("driver");
  await withAdmin(driver(node.direct), (admin) => admin.create([{ name, partitions, replicationFactor: 1, config }]));
  return name;
}

export function record(value: string | Uint8Array, given: Partial<DriverRecord> = {}): DriverRecord {
  return { key: null, value: Buffer.from(value), headers: [], ...given };
}

/** A client that has nothing to do with the driver: its admin. */
export async function stranger<T>({ node }: DriverRig, use: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = new Kafka({ brokers: [node.direct], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    return await use(admin);
  } finally {
    await admin.disconnect();
  }
}

/** As many values as one gzip batch, by a client that is not the driver. */
export async function gzipped({ node }: DriverRig, topic: string, values: readonly Buffer[]): Promise<void> {
  const producer = new Kafka({ brokers: [node.direct], logLevel: logLevel.NOTHING }).producer();
  await producer.connect();
  await producer.send({
    topic,
    messages: values.map((value) => ({ value, partition: 0 })),
    compression: CompressionTypes.GZIP,
  });
  await producer.disconnect();
}

/** A member of a group, and all that it was told. */
export class Member implements AsyncDisposable {
  readonly got: (ReceivedRecord & { readonly topic: string; readonly partition: number })[] = [];
  readonly assignments: Assignment[] = [];
  readonly strayed: string[] = [];
  readonly crashes: unknown[] = [];
  alive = 0;
  consumer!: DriverConsumer;

  static async join(driver: Driver, group: string, topic: string, card: string | null = null): Promise<Member> {
    const member = new Member();
    member.consumer = await driver.consumer({ group, topics: [topic], card, fetchBytes: 262_144 }, member.#events());
    return member;
  }

  /** Partitions of the last assignment. */
  get partitions(): readonly number[] {
    return [...(this.assignments.at(-1)?.values() ?? [])].flat().toSorted();
  }

  get offsets(): readonly number[] {
    return this.got.map(({ offset }) => offset);
  }

  begin(topic: string, partition: number, offset: number): void {
    this.consumer.seek(topic, partition, offset);
    this.consumer.resume(topic, partition);
  }

  async until(what: string, holds: () => boolean): Promise<void> {
    await until(what, WAIT_MS, holds, 20);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.consumer.close();
  }

  #events(): ConsumerEvents {
    return {
      joined: (assignment) => void this.assignments.push(assignment),
      fetched: (topic, partition, records) =>
        void this.got.push(...records.map((one) => ({ ...one, topic, partition }))),
      strayed: (topic, partition) => void this.strayed.push(`${topic}/${partition}`),
      alive: () => void this.alive++,
      crashed: (thrown) => void this.crashes.push(thrown),
    };
  }
}
