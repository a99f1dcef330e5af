import type { Measure, Row } from "./cases.ts";
import { type Rounds, rowsOf, spreadOf } from "./rounds.ts";

/** One thing that each of some clients does. */
export interface CasePlan<T extends { readonly client: string }> {
  readonly name: string;
  /** The client that the others are compared with. */
  readonly raw: string | null;
  readonly tasks: readonly T[];
}

/** What the command line says. */
export interface Settings {
  readonly rounds: number;
  /** Where stores are made; null: the system's folder for temporary files. */
  readonly folder: string | null;
  /** Cases whose name has this in it, or one of several between commas; null: all. */
  readonly only: string | null;
}

export type BenchRow = Row & { readonly spread: number };

export interface Figures {
  readonly rows: readonly BenchRow[];
  readonly goals: readonly string[];
  /** What had to hold and did not: the bench fails. */
  readonly problems: readonly string[];
}

/** Cases that the command line names. @throws where there are none */
export function chosen<T extends { readonly name: string }>(cases: readonly T[], only: string | null): readonly T[] {
  const parts = only?.split(",") ?? [""];
  const some = cases.filter(({ name }) => parts.some((part) => name.includes(part)));
  if (some.length === 0) throw new Error(`no case is called ${only}: ${cases.map(({ name }) => name).join(", ")}`);
  return some;
}

/** Plays every case in every round, clients in turn, the order turned round each time: nobody always goes first. */
export async function play<T extends { readonly client: string }>(
  rounds: number,
  say: (line: string) => void,
  cases: readonly CasePlan<T>[],
  one: (task: T, round: number) => Promise<Measure>,
): Promise<Figures & { readonly rounds: ReadonlyMap<string, Rounds> }> {
  const all = new Map<string, Rounds>(cases.map((c) => [c.name, new Map(c.tasks.map((t) => [t.client, []]))]));
  for (let round = 0; round < rounds; round++) {
    for (const { name, tasks } of cases) {
      for (const task of round % 2 === 0 ? tasks : tasks.toReversed()) {
        const figures = await one(task, round);
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
