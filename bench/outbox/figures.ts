import { median, spreadOf } from "../rounds.ts";
import type { BenchRow } from "../play.ts";
import type { OutboxMeasure } from "./task.ts";

/** What each client measured, by case. */
export type Measured = ReadonlyMap<string, ReadonlyMap<string, readonly OutboxMeasure[]>>;

export function rowsOf(
  name: string,
  clients: ReadonlyMap<string, readonly OutboxMeasure[]>,
  raw: string | null,
): readonly BenchRow[] {
  const base = raw === null ? undefined : clients.get(raw);
  return [...clients]
    .toSorted(([a], [b]) => Number(b === raw) - Number(a === raw))
    .map(([client, measures]) => ({
      case: name,
      client,
      rate: Math.round(median(measures.map((m) => m.rate))),
      cpuMicros: Number(median(measures.map((m) => m.cpuMicros)).toFixed(2)),
      ratio:
        base === undefined
          ? null
          : Number(median(measures.map((m, round) => m.rate / (base[round]?.rate ?? Number.NaN))).toFixed(3)),
      spread: spreadOf(measures.map((m) => m.rate)),
    }));
}

/** Speed is a goal, not a promise: on a busy machine it is missed, and printed. */
export function goalsOf(measured: Measured): readonly string[] {
  const tally = (name: string): readonly OutboxMeasure[] => measured.get(name)?.get("tally") ?? [];
  const of = (name: string, pick: (m: OutboxMeasure) => number): number => median(tally(name).map(pick));
  const lines: string[] = [];
  const goal = (name: string, text: string, got: number, shown: string, met: boolean): void => {
    if (tally(name).length > 0) lines.push(`goal: ${text}: ${shown} ${met ? "(met)" : "(missed)"}`);
    if (Number.isNaN(got) && tally(name).length > 0) lines.push(`${name} has no figure`);
  };
  const rate = (name: string, least: number, text: string): void => {
    const got = of(name, (m) => m.rate);
    goal(
      name,
      `${name}: at least ${least.toLocaleString("en")} ${text}`,
      got,
      `${Math.round(got).toLocaleString("en")}/s`,
      got >= least,
    );
  };
  rate("puts-1000-256", 300_000, "durable puts a second");
  const stall = of("puts-1000-256", (m) => m.stall?.wallMs ?? Number.NaN);
  const cpu = of("puts-1000-256", (m) => m.stall?.cpuMs ?? Number.NaN);
  goal(
    "puts-1000-256",
    "puts-1000-256: the loop's longest stall under 10 ms",
    stall,
    `${stall.toFixed(1)} ms (at most ${cpu.toFixed(1)} ms of them its own CPU)`,
    stall < 10,
  );
  rate("relay-quorum-256", 20_000, "rows a second, ordered, confirmed");
  rate("tx-64", 10_000, "effects a second");
  for (const name of ["outage-return", "memory-flat"]) {
    for (const m of tally(name)) lines.push(`${name}${saidOf(m)}`);
  }
  return lines;
}

export function saidOf({ said, stall }: OutboxMeasure): string {
  const parts = Object.entries(said).map(
    ([what, figure]) => `${words(what)} ${figure.toLocaleString("en", { maximumFractionDigits: 2 })}`,
  );
  if (stall !== null) parts.push(`longest stall ${stall.wallMs.toFixed(1)} ms, ${stall.cpuMs.toFixed(1)} ms CPU`);
  return parts.length === 0 ? "" : `: ${parts.join(", ")}`;
}

/** `secondsUntilDirect` as a person would say it. */
function words(name: string): string {
  return name.replace(/[A-Z]+/g, (capitals) => (capitals.length > 1 ? ` ${capitals}` : ` ${capitals.toLowerCase()}`));
}
