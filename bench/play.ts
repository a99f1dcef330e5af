import { type ConfirmChannel, connect } from "amqplib";
import type { RabbitNode } from "../integration-tests/brokers/index.ts";
import type { Row, Task } from "./cases.ts";
import { measure, type Rounds, rowsOf, spreadOf } from "./rounds.ts";

export interface CasePlan {
  readonly name: string;
  /** The client that the others are compared with. */
  readonly raw: string | null;
  readonly tasks: readonly (Omit<Task, "broker"> & { readonly queueType: "quorum" | "classic" | null })[];
}

/** What the command line says. */
export interface Settings {
  readonly rounds: number;
  /** Where stores are made; null: the system's folder for temporary files. */
  readonly folder: string | null;
  /** Cases whose name has this in it; null: all. */
  readonly only: string | null;
}

export type BenchRow = Row & { readonly spread: number };

export interface Figures {
  readonly rows: readonly BenchRow[];
  readonly goals: readonly string[];
  /** What had to hold and did not: the bench fails. */
  readonly problems: readonly string[];
}

/** Plays every case in every round, clients in turn, the order turned round each time: nobody always goes first. */
export async function play(
  rounds: number,
  say: (line: string) => void,
  rabbit: RabbitNode,
  cases: readonly CasePlan[],
): Promise<Figures & { readonly rounds: ReadonlyMap<string, Rounds> }> {
  const all = new Map<string, Rounds>(cases.map((c) => [c.name, new Map(c.tasks.map((t) => [t.client, []]))]));
  for (let round = 0; round < rounds; round++) {
    for (const { name, tasks } of cases) {
      for (const { queueType, ...task } of round % 2 === 0 ? tasks : tasks.toReversed()) {
        const queue = `bench-${round}-${task.case}-${task.client}`;
        const figures = await (queueType === null
          ? measure({ ...task, broker: null })
          : withQueue(rabbit.url, { queue, type: queueType, task }, () =>
              measure({ ...task, broker: { url: rabbit.url, queue, queueType } }),
            ));
        all.get(name)?.get(task.client)?.push(figures);
        say(
          `round ${round + 1}/${rounds}  ${name}  ${task.client}: ${Math.round(figures.rate).toLocaleString("en")}/s, ${figures.cpuMicros.toFixed(2)} µs`,
        );
      }
    }
  }
  const rows = cases.flatMap(({ name, raw }) => {
    const measured = all.get(name) ?? new Map();
    return rowsOf(name, measured, raw).map((row) => ({
      ...row,
      spread: spreadOf(measured.get(row.client)?.map((m: { rate: number }) => m.rate) ?? []),
    }));
  });
  return { rounds: all, rows, goals: [], problems: [] };
}

/**
 * A fresh queue for each measurement: a long one is slower than a short one. For a consumer it is filled before, and Tally
 * must leave it empty: all was acked.
 */
async function withQueue<T>(
  url: string,
  { queue, type, task }: { readonly queue: string; readonly type: "quorum" | "classic"; readonly task: Filling },
  use: () => Promise<T>,
): Promise<T> {
  const connection = await connect(url);
  const channel = await connection.createConfirmChannel();
  try {
    await channel.assertQueue(queue, { durable: true, arguments: { "x-queue-type": type } });
    if (task.verb === "consume") await fill(channel, queue, task);
    const used = await use();
    const { messageCount } = await channel.checkQueue(queue);
    // Single acks may go down with a channel that closes (RabbitMQ passes 32 on and keeps the rest back): amqplib's user has
    // some of those messages again.
    if (task.verb === "consume" && task.client === "tally" && messageCount > 0)
      throw new Error(`${queue}: ${messageCount} messages were not acked`);
    return used;
  } finally {
    await channel.deleteQueue(queue);
    await connection.close();
  }
}

type Filling = Pick<Task, "client" | "verb" | "warmup" | "messages" | "bytes">;
const AT_ONCE = 5_000;

async function fill(channel: ConfirmChannel, queue: string, { warmup, messages, bytes }: Filling): Promise<void> {
  const body = Buffer.alloc(bytes, "x");
  for (let n = 0; n < warmup + messages; n++) {
    channel.sendToQueue(queue, body, { persistent: true, messageId: `order-${n}` });
    if (n % AT_ONCE === 0) await channel.waitForConfirms();
  }
  await channel.waitForConfirms();
}
