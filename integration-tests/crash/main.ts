import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { FAILPOINTS } from "@tallymq/testkit/crash";
import { command } from "../command.ts";
import { parseArguments, type Settings, USAGE } from "./arguments.ts";
import { matrix, type Row, rowsOf } from "./matrix.ts";
import type { RunReport } from "./run.ts";

async function main(settings: Settings, signal: AbortSignal): Promise<number> {
  const { brokers, points, rounds } = settings;
  const total = brokers.reduce((sum, name) => sum + points[name].length, 0) * rounds;
  const folder = mkdtempSync(join(tmpdir(), "tally-crash-"));
  const started = performance.now();
  let [done, keep] = [0, false];
  try {
    const reports = await matrix({
      ...settings,
      folder,
      signal,
      step: (line) => console.error(line),
      done(run) {
        console.error(`${String(++done).padStart(3)}/${total}  ${inWords(run)}`);
      },
    });
    const rows = rowsOf(reports);
    console.log(`\n${table(rows)}\n`);
    const bad = reports.filter(({ verdict }) => verdict !== "VALID");
    keep = bad.length > 0;
    for (const run of bad)
      console.log(
        `${inWords(run)}\n${run.reasons
          .slice(0, 8)
          .map((reason) => `    ${reason}`)
          .join("\n")}`,
      );
    const seconds = (performance.now() - started) / 1000;
    const verdict = (["INVALID", "UNKNOWN", "VALID"] as const).find((each) =>
      rows.some((row) => row.verdict === each),
    )!;
    const hits = reports.filter(({ hit }) => hit).length;
    console.log(`${reports.length} runs, ${hits} killed at their failpoint, ${seconds.toFixed(0)} s`);
    console.log(`VERDICT: ${verdict}`);
    if (keep) console.log(`kept: ${folder} (a folder for each run: ledger, effects, stores, logs)`);
    if (settings.json !== null) {
      mkdirSync(dirname(resolve(settings.json)), { recursive: true });
      writeFileSync(settings.json, `${JSON.stringify({ rows, seconds, verdict }, null, 2)}\n`);
    }
    return { VALID: 0, INVALID: 1, UNKNOWN: 2 }[verdict];
  } finally {
    if (!keep) rmSync(folder, { recursive: true, force: true });
  }
}

function inWords({ point, broker, pass, hit, verdict, seconds }: RunReport): string {
  const how = hit ? `killed at pass ${pass}` : `never came to pass ${pass}`;
  return `${broker.padEnd(8)}  ${point.padEnd(22)}  ${how.padEnd(24)}  ${verdict}  ${seconds.toFixed(1)} s`;
}

function table(rows: readonly Row[]): string {
  const brokers = [...new Set(rows.map(({ broker }) => broker))];
  const points = [...new Set(rows.map(({ point }) => point))];
  const cells = [
    ["failpoint", ...brokers.map((name) => `${name}: runs, hits, verdict`), "what has happened there"],
    ...points.map((point) => [
      point,
      ...brokers.map((name) => {
        const row = rows.find((each) => each.point === point && each.broker === name);
        return row === undefined
          ? "   –"
          : `${String(row.runs).padStart(4)} ${String(row.hits).padStart(4)}  ${row.verdict}`;
      }),
      FAILPOINTS[point],
    ]),
  ];
  const widths = cells[0]!.map((_, column) => Math.max(...cells.map((row) => row[column]!.length)));
  return cells
    .map((row) =>
      row
        .map((cell, column) => cell.padEnd(widths[column]!))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}

await command(USAGE, parseArguments, main);
