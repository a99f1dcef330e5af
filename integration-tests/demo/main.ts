import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { parseArguments, type Settings, USAGE, UsageError } from "./arguments.ts";
import { page } from "./report/html.ts";
import { ProgressLine } from "./report/progress.ts";
import { table } from "./report/table.ts";
import { runDemo } from "./run.ts";

const ROOT = resolve(import.meta.dirname, "../..");
/** After a signal, for the run to put things away. */
const LEAVE_MS = 20_000;

async function main(): Promise<number> {
  const settings = parseArguments(process.argv.slice(2));
  if (settings === "help") {
    console.log(USAGE);
    return 0;
  }
  const interrupted = new AbortController();
  for (const signal of ["SIGINT", "SIGTERM"] as const) {
    process.on(signal, () => {
      interrupted.abort(new Error(`ended by ${signal}`));
      setTimeout(() => process.exit(2), LEAVE_MS).unref();
    });
  }
  console.log(
    `${settings.messages.toLocaleString("en-US")} messages by ${settings.client} on ${settings.broker}, seed ${settings.seed}`,
  );
  const progress = new ProgressLine(process.stderr);
  const { signal } = interrupted;
  const report = await runDemo(settings, progress, signal)
    .catch((error: unknown) => {
      if (!signal.aborted) throw error;
      return (signal.reason as Error).message;
    })
    .finally(() => progress.end());
  if (typeof report === "string") {
    console.error(report);
    return 2;
  }

  const file = pageFile(settings);
  write(file, page(report));
  if (settings.json !== null) write(settings.json, `${JSON.stringify(report.figures, null, 2)}\n`);
  console.log(`\n${table(report, process.stdout.hasColors?.() ?? false)}`);
  console.log(`report: ${file}`);
  if (report.exitCode !== 0) console.log(`kept: ${report.folder} (ledger, effects, logs)`);
  return report.exitCode;
}

function pageFile({ report, broker, client }: Settings): string {
  if (report !== null) return resolve(report);
  return join(ROOT, ".tally", client === "tally" ? `demo-${broker}.html` : `demo-${broker}-${client}.html`);
}

function write(file: string, content: string): void {
  mkdirSync(dirname(resolve(file)), { recursive: true });
  writeFileSync(file, content);
}

try {
  // Nothing may be left running that would hold the process; if something is, it is not what the exit code is about.
  process.exit(await main());
} catch (error) {
  if (error instanceof UsageError) console.error(`${error.message}\n\n${USAGE}`);
  else console.error(error);
  process.exit(2);
}
