import { writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { command } from "../integration-tests/command.ts";
import { type KafkaSettings, parseArguments, type Settings, USAGE } from "./arguments.ts";
import { compareKafka } from "./faults/kafka/run.ts";
import { kafkaTable } from "./faults/kafka/table.ts";
import { compareFaults } from "./faults/run.ts";
import { table } from "./faults/table.ts";
import type { Effects } from "./faults/verdict.ts";

const say = (line: string): void => console.error(line);

async function main(settings: Settings | KafkaSettings, signal: AbortSignal): Promise<number> {
  const report = "scenarios" in settings ? await onKafka(settings, signal) : await onRabbitmq(settings, signal);
  console.log(`\n${report.text}\nload ${loadavg()[0]!.toFixed(1)}`);
  if (settings.json !== null) writeFileSync(settings.json, `${JSON.stringify(report.figures, null, 2)}\n`);
  for (const problem of report.problems) console.error(`what must hold did not: ${problem}`);
  return report.problems.length === 0 ? 0 : 1;
}

interface Told {
  readonly text: string;
  readonly figures: object;
  readonly problems: readonly string[];
}

async function onRabbitmq(settings: Settings, signal: AbortSignal): Promise<Told> {
  const report = await compareFaults(settings, say, signal);
  return { text: table(report), figures: { rows: plain(report.rows), kills: report.kills }, problems: report.problems };
}

async function onKafka(settings: KafkaSettings, signal: AbortSignal): Promise<Told> {
  const report = await compareKafka(settings, say, signal);
  return { text: kafkaTable(report), figures: { rows: plain(report.rows) }, problems: report.problems };
}

function plain(rows: readonly { readonly effects: Effects | null }[]): readonly object[] {
  return rows.map(({ effects, ...row }) => ({ ...row, doubledEffects: effects?.doubled ?? null }));
}

await command(USAGE, parseArguments, main);
