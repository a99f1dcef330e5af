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
  const crashed = rows.filter(({ ended }) => ended !== null);
  return [
    ...columns(COLUMNS, cells, 1),
    "",
    `${title}; killed with -9: ${kills.map(({ part, at, lasted }) => `${part} at ${at.toFixed(1)} s (away for ${lasted.toFixed(1)} s)`).join(" and ")}`,
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

/** Lines of a table; the first columns, so many, begin at their left. */
export function columns(
  names: readonly string[],
  cells: readonly (readonly string[])[],
  left: number,
): readonly string[] {
  const widths = names.map((name, i) => Math.max(name.length, ...cells.map((cell) => cell[i]!.length)));
  const line = (row: readonly string[]): string =>
    row.map((cell, i) => (i < left ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!))).join("  ");
  return [line(names), widths.map((width) => "─".repeat(width)).join("  "), ...cells.map(line)];
}
