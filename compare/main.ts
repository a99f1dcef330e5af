import { writeFileSync } from "node:fs";
import { loadavg } from "node:os";
import { parseArguments, USAGE, UsageError } from "./arguments.ts";
import { compareFaults } from "./faults/run.ts";
import { table } from "./faults/table.ts";

async function main(): Promise<number> {
  const settings = parseArguments(process.argv.slice(2));
  if (settings === "help") {
    console.log(USAGE);
    return 0;
  }
  const interrupted = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const)
    process.on(signal, () => interrupted.abort(new Error(`ended by ${signal}`)));
  const report = await compareFaults(settings, (line) => console.error(line), interrupted.signal);
  console.log(`\n${table(report)}\nload ${loadavg()[0]!.toFixed(1)}`);
  if (settings.json !== null) {
    const rows = report.rows.map(({ effects, ...row }) => ({ ...row, doubledEffects: effects?.doubled ?? null }));
    writeFileSync(settings.json, `${JSON.stringify({ rows, kills: report.kills }, null, 2)}\n`);
  }
  for (const problem of report.problems) console.error(`what must hold did not: ${problem}`);
  return report.problems.length === 0 ? 0 : 1;
}

try {
  // A client that keeps its process alive after its run is no reason to wait.
  process.exit(await main());
} catch (error) {
  if (error instanceof UsageError) console.error(`${error.message}\n\n${USAGE}`);
  else console.error(error);
  process.exit(2);
}
