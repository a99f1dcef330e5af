import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, join, resolve } from "node:path";
import { command } from "../command.ts";
import { parseArguments, type Settings, USAGE } from "./arguments.ts";
import { page } from "./report/html.ts";
import { ProgressLine } from "./report/progress.ts";
import { table } from "./report/table.ts";
import { runDemo } from "./run.ts";

const ROOT = resolve(import.meta.dirname, "../..");
async function main(settings: Settings, signal: AbortSignal): Promise<number> {
  console.log(
    `${settings.messages.toLocaleString("en-US")} messages by ${settings.client} on ${settings.broker}, seed ${settings.seed}`,
  );
  const progress = new ProgressLine(process.stderr);
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

await command(USAGE, parseArguments, main);
