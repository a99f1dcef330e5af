import type { Report } from "./run.ts";

const COLUMNS = [
  "client",
  "resolved",
  "lost",
  "rejected",
  "of those there",
  "no answer",
  "duplicated",
  "effects doubled",
  "seconds",
] as const;

export function table({ rows, kills, title }: Report): string {
  const number = (n: number): string => n.toLocaleString("en");
  const cells = rows.map((row) => [
    row.client,
    number(row.resolved),
    number(row.lost),
    number(row.rejected),
    number(row.rejectedThere),
    number(row.unanswered),
    number(row.duplicated),
    row.effects === null ? "–" : number(row.effects.doubled),
    row.seconds.toFixed(1),
  ]);
  const widths = COLUMNS.map((column, i) => Math.max(column.length, ...cells.map((cell) => cell[i]!.length)));
  const line = (row: readonly string[]): string =>
    row.map((cell, i) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join("  ");
  const crashed = rows.filter(({ ended }) => ended !== null);
  return [
    line(COLUMNS),
    widths.map((width) => "─".repeat(width)).join("  "),
    ...cells.map(line),
    "",
    `${title}; killed with -9 ${kills.map(({ at, lasted }) => `at ${at.toFixed(1)} s (away for ${lasted.toFixed(1)} s)`).join(" and ")}`,
    ...rows.flatMap(({ client, effects }) =>
      effects === null
        ? []
        : [
            `${client}'s queue was consumed by an idempotent consumer, its connections cut half-way: ${effects.recognised} deliveries recognised`,
          ],
    ),
    ...crashed.map(({ ended }) => `crashed: ${ended}`),
  ].join("\n");
}
