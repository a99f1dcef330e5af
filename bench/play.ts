import { connect } from "amqplib";
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
          : withQueue(rabbit.url, queue, queueType, () =>
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

/** A fresh queue for each measurement: a long one is slower than a short one. */
async function withQueue<T>(url: string, queue: string, type: "quorum" | "classic", use: () => Promise<T>): Promise<T> {
  const connection = await connect(url);
  const channel = await connection.createChannel();
  try {
    await channel.assertQueue(queue, { durable: true, arguments: { "x-queue-type": type } });
    return await use();
  } finally {
    await channel.deleteQueue(queue);
    await connection.close();
  }
}
