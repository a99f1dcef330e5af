/** What one process measures in one round. */
export interface OutboxTask {
  /** As in the figures: `puts-1000-256`. */
  readonly case: string;
  readonly subject: Subject;
  /** `sqlite`: node:sqlite by hand. `amqplib`: the driver by hand, with node:sqlite where there is a database. */
  readonly client: "tally" | "sqlite" | "amqplib";
  /** Where the stores are made; each task has a folder of its own in it. */
  readonly folder: string;
  /** Null where no broker takes part. */
  readonly broker: { readonly url: string; readonly port: number; readonly topic: string } | null;
  readonly bytes: number;
  /** Who publishes, or handles, at the same time. */
  readonly callers: number;
  /** How many messages; of `puts` and `outage` the number of seconds decides. */
  readonly messages: number;
  readonly seconds: number;
}

export type Subject = "puts" | "relay" | "tx" | "outage" | "memory";

export interface OutboxMeasure {
  /** Messages a second. */
  readonly rate: number;
  /** User and system CPU of the whole process, threads included, microseconds a message. */
  readonly cpuMicros: number;
  /** Longest time that the publishing thread's event loop stood still, and how much CPU it had of one such time; null: not looked at. */
  readonly stall: Stall | null;
  /** What the case says about itself beside its rate. */
  readonly said: Readonly<Record<string, number>>;
  /** What does not add up; empty, or the bench fails. */
  readonly problems: readonly string[];
}

export interface Stall {
  readonly wallMs: number;
  readonly cpuMs: number;
}

type Shape = Pick<OutboxTask, "bytes" | "callers" | "messages" | "seconds">;

export interface OutboxCase extends Shape {
  readonly name: string;
  readonly subject: Subject;
  readonly raw: "sqlite" | "amqplib" | null;
}

const NONE: Shape = { bytes: 256, callers: 1, messages: 0, seconds: 0 };

export const CASES: readonly OutboxCase[] = [
  ...[256, 4_096].flatMap((bytes) =>
    [1, 100, 1_000].map((callers): OutboxCase => ({
      ...NONE,
      name: `puts-${callers}-${bytes}`,
      subject: "puts",
      raw: "sqlite",
      bytes,
      callers,
      seconds: 3,
    })),
  ),
  { ...NONE, name: "relay-quorum-256", subject: "relay", raw: "amqplib", callers: 1_000, messages: 60_000 },
  { ...NONE, name: "tx-64", subject: "tx", raw: "amqplib", callers: 64, messages: 30_000 },
  { ...NONE, name: "outage-return", subject: "outage", raw: null, seconds: 10 },
  { ...NONE, name: "memory-flat", subject: "memory", raw: null, callers: 1_000, messages: 1_000_000 },
];
