import { writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { command } from "../integration-tests/command.ts";
import { parseArguments, type Settings, USAGE } from "./arguments.ts";
import { compareFaults } from "./faults/run.ts";
import { table } from "./faults/table.ts";

async function main(settings: Settings, signal: AbortSignal): Promise<number> {
  const report = await compareFaults(settings, (line) => console.error(line), signal);
  console.log(`\n${table(report)}\nload ${loadavg()[0]!.toFixed(1)}`);
  if (settings.json !== null) {
    const rows = report.rows.map(({ effects, ...row }) => ({ ...row, doubledEffects: effects?.doubled ?? null }));
    writeFileSync(settings.json, `${JSON.stringify({ rows, kills: report.kills }, null, 2)}\n`);
  }
  for (const problem of report.problems) console.error(`what must hold did not: ${problem}`);
  return report.problems.length === 0 ? 0 : 1;
}

await command(USAGE, parseArguments, main);
