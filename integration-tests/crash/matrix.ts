import { mkdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import type { Failpoint } from "@tallymq/testkit/crash";
import type { LedgerVerdict } from "@tallymq/testkit/ledger";
import { type Broker, type BrokerName, startBroker } from "./broker.ts";
import { crashRun, type RunReport } from "./run.ts";
import { PLANS, POINTS } from "./scenarios.ts";

export interface MatrixOptions {
  readonly brokers: readonly BrokerName[];
  readonly points: Readonly<Record<BrokerName, readonly Failpoint[]>>;
  /** Runs of each point on each broker, each with another pass of it. */
  readonly rounds: number;
  readonly seed: number;
  /** Runs side by side. */
  readonly jobs: number;
  readonly folder: string;
  readonly signal: AbortSignal;
  /** A line before something that may take long. */
  step(line: string): void;
  done(run: RunReport): void;
}

/** One line of the table and of `--json`. */
export interface Row {
  readonly point: Failpoint;
  readonly broker: BrokerName;
  readonly runs: number;
  /** Runs in which the process died there. */
  readonly hits: number;
  readonly verdict: LedgerVerdict;
}

/** Each point on each broker: the points share a broker, and a few of them run side by side. */
export async function matrix(options: MatrixOptions): Promise<readonly RunReport[]> {
  const { brokers, folder, signal, step } = options;
  const reports: RunReport[] = [];
  for (const name of brokers) {
    const data = join(folder, name);
    mkdirSync(data, { recursive: true });
    await using broker = await startBroker(name, data, step);
    signal.throwIfAborted();
    reports.push(...(await all(options, broker, data)));
  }
  return reports;
}

async function all(options: MatrixOptions, broker: Broker, data: string): Promise<readonly RunReport[]> {
  const { rounds, seed, jobs, signal, step, done } = options;
  const points = options.points[broker.name];
  const late = points.filter((point) => PLANS[point]!.scenario === "delay");
  if (!broker.delays && late.length > 0) step(`${broker.name} delays nothing: without ${late.join(", ")}`);
  const wanted = points
    .filter((point) => broker.delays || !late.includes(point))
    .flatMap((point, at) => Array.from({ length: rounds }, (_, round) => ({ point, seed: seed + round * 1_000 + at })));
  const reports: RunReport[] = [];
  const work = async (): Promise<void> => {
    for (let next = wanted.shift(); next !== undefined; next = wanted.shift()) {
      const folder = join(data, `${next.point}-${next.seed}`);
      const report = await crashRun({ ...next, broker, folder, signal });
      if (report.verdict === "VALID") rmSync(folder, { recursive: true, force: true });
      reports.push(report);
      done(report);
    }
  };
  await Promise.all(Array.from({ length: jobs }, work));
  return reports;
}

const WORST: readonly LedgerVerdict[] = ["INVALID", "UNKNOWN", "VALID"];

/** In the order of the points, one broker after the other. */
export function rowsOf(reports: readonly RunReport[]): readonly Row[] {
  const brokers = [...new Set(reports.map(({ broker }) => broker))];
  return POINTS.flatMap((point) =>
    brokers.flatMap((broker): readonly Row[] => {
      const runs = reports.filter((each) => each.point === point && each.broker === broker);
      const hits = runs.filter(({ hit }) => hit).length;
      const verdict = WORST.find((one) => runs.some((run) => run.verdict === one));
      return verdict === undefined ? [] : [{ point, broker, runs: runs.length, hits, verdict }];
    }),
  );
}
