import { execFile } from "node:child_process";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import type { Measure, Row, Task } from "./cases.ts";

const run = promisify(execFile);
const CLIENT = new URL("clients/client.ts", import.meta.url);
const LIMIT_MS = 180_000;

/** One task in a process of its own: no client pays for what another one left in the heap or the compiler. */
export async function measure<T extends Pick<Task, "case" | "messages"> & { readonly client: string }>(
  task: T,
  client: URL = CLIENT,
): Promise<Measure> {
  const { stdout } = await run(process.execPath, [fileURLToPath(client), JSON.stringify(task)], { timeout: LIMIT_MS });
  const figures = JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as Measure;
  if (figures.confirmed !== task.messages)
    throw new Error(`${task.client}, ${task.case}: ${figures.confirmed} of ${task.messages} confirmed`);
  return figures;
}

/** Rounds of one case: what each client measured, by round. */
export type Rounds = Map<string, Measure[]>;

export function median(values: readonly number[]): number {
  const sorted = values.toSorted((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1
    ? (sorted[middle] ?? Number.NaN)
    : ((sorted[middle - 1] ?? Number.NaN) + (sorted[middle] ?? Number.NaN)) / 2;
}

/** (fastest − slowest) ÷ median. */
export function spreadOf(rates: readonly number[]): number {
  return (Math.max(...rates) - Math.min(...rates)) / median(rates);
}

/** Ratios to another client's figure in the same round: what the machine did in that minute cancels out. */
export function ratios(of: readonly Measure[], to: readonly Measure[], figure: "rate" | "cpuMicros"): number[] {
  return of.map((m, round) => m[figure] / (to[round]?.[figure] ?? Number.NaN));
}

export function rowsOf(name: string, rounds: Rounds, raw: string | null): Row[] {
  const base = raw === null ? undefined : rounds.get(raw);
  return [...rounds].map(([client, measures]) => ({
    case: name,
    client,
    rate: Math.round(median(measures.map((m) => m.rate))),
    cpuMicros: Number(median(measures.map((m) => m.cpuMicros)).toFixed(2)),
    ratio: base === undefined ? null : Number(median(ratios(measures, base, "rate")).toFixed(3)),
  }));
}
