import { columns } from "../table.ts";
import { SCENARIOS } from "./scenarios.ts";
import type { KafkaReport } from "./run.ts";

const COLUMNS = [
  "scenario",
  "client",
  "resolved",
  "lost",
  "duplicated",
  "rejected",
  "of those there",
  "no answer",
  "effects doubled",
  "seconds",
] as const;

export function kafkaTable({ rows }: KafkaReport): string {
  const number = (n: number): string => n.toLocaleString("en");
  const cells = rows.map((row) => [
    row.scenario,
    row.client,
    number(row.resolved),
    number(row.lost),
    number(row.duplicated),
    number(row.rejected),
    number(row.rejectedThere),
    number(row.unanswered),
    row.effects === null ? "–" : number(row.effects.doubled),
    row.seconds.toFixed(1),
  ]);
  const played = SCENARIOS.filter(({ name }) => rows.some(({ scenario }) => scenario === name));
  return [
    ...columns(COLUMNS, cells, 2),
    "",
    ...played.map(({ name, words }) => `${name}: ${words}`),
    ...rows.flatMap(({ ended }) => (ended === null ? [] : [`crashed: ${ended}`])),
  ].join("\n");
}
