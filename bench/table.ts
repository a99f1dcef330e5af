import type { BenchRow } from "./play.ts";

const COLUMNS = ["case", "client", "msgs/s", "spread", "CPU µs/msg", "rate ÷ raw"] as const;

/** Rows as text; `spread` is (fastest − slowest) ÷ median rate over the rounds. */
export function table(rows: readonly BenchRow[]): string {
  const cells = rows.map((r) => [
    r.case,
    r.client,
    r.rate.toLocaleString("en"),
    `${Math.round(r.spread * 100)} %`,
    r.cpuMicros.toFixed(2),
    r.ratio === null ? "–" : `${r.ratio.toFixed(2)}×`,
  ]);
  const widths = COLUMNS.map((column, i) => Math.max(column.length, ...cells.map((row) => row[i]?.length ?? 0)));
  const line = (row: readonly string[]): string =>
    row.map((cell, i) => (i < 2 ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0))).join("   ");
  return [line(COLUMNS), widths.map((w) => "─".repeat(w)).join("   "), ...cells.map(line)].join("\n");
}

export function goal(text: string, got: number, holds: boolean): string {
  return `goal: ${text}: ${got.toFixed(2)}× ${holds ? "(met)" : "(missed)"}`;
}
