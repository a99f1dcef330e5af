import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { startRocket } from "../brokers/index.ts";
import { command } from "../command.ts";
import { parseArguments, type Settings, USAGE } from "./arguments.ts";
import { BROKER_CONFIG, halvesRun, type RunReport } from "./run.ts";

async function main(settings: Settings, signal: AbortSignal): Promise<number> {
  const { killed, downtimes, json } = settings;
  const folder = mkdtempSync(join(tmpdir(), "tally-halves-"));
  let keep = true;
  try {
    await using node = await startRocket({ config: BROKER_CONFIG });
    const report = await halvesRun({
      ...settings,
      demands: { killed, dropped: 10 * downtimes },
      node,
      folder,
      signal,
      step: (line) => console.error(line),
    });
    for (const line of inWords(report)) console.log(line);
    keep = report.verdict !== "VALID";
    if (keep) console.log(`kept: ${folder} (stores, effects, logs)`);
    if (json !== null) {
      mkdirSync(dirname(resolve(json)), { recursive: true });
      writeFileSync(json, `${JSON.stringify(report, null, 2)}\n`);
    }
    return { VALID: 0, INVALID: 1, UNKNOWN: 2 }[report.verdict];
  } finally {
    if (!keep) rmSync(folder, { recursive: true, force: true });
  }
}

function inWords(report: RunReport): readonly string[] {
  const { killed } = report;
  return [
    `${report.transactions} transactions: ${report.committed} committed, ${report.rolledBack} rolled back`,
    `killed with -9: ${killed.work} between half message and work's decision, ${killed.commit} between decision and commit, ${killed.check} in the broker's question`,
    `${report.processes} lives of two producers; ${report.dropped} committed ones that the broker had given up; ${report.duplicates} deliveries that the inbox knew; ${report.seconds.toFixed(0)} s`,
    ...report.reasons.slice(0, 20).map((reason) => `    ${reason}`),
    `VERDICT: ${report.verdict}`,
  ];
}

await command(USAGE, parseArguments, main);
