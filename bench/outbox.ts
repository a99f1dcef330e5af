import { execFile } from "node:child_process";
import { statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { startRabbit } from "../integration-tests/brokers/index.ts";
import { goalsOf, rowsOf, saidOf } from "./outbox/figures.ts";
import { CASES, type OutboxCase, type OutboxMeasure, type OutboxTask } from "./outbox/task.ts";
import { chosen, type Figures, type Settings } from "./play.ts";

const run = promisify(execFile);
const PROCESS = fileURLToPath(new URL("outbox/process.ts", import.meta.url));
const LIMIT_MS = 300_000;

/** Durable puts, the relay, `tx` consuming, an outage and memory, each beside the same work by hand in the same round. */
export async function outbox({ rounds, folder, only }: Settings, say: (line: string) => void): Promise<Figures> {
  const cases = chosen(CASES, only);
  const at = folder ?? tmpdir();
  say(`stores in ${at} (${fileSystemOf(at)})`);
  await using rabbit = cases.some(needsBroker) ? await startRabbit({ progress: say }) : null;
  const measured = new Map<string, Map<string, OutboxMeasure[]>>(cases.map(({ name }) => [name, new Map()]));
  const problems: string[] = [];
  for (let round = 0; round < rounds; round++) {
    for (const each of cases) {
      const clients = each.raw === null ? (["tally"] as const) : ([each.raw, "tally"] as const);
      for (const client of round % 2 === 0 ? clients : clients.toReversed()) {
        const { name, raw: _, ...shape } = each;
        const topic = `bench-${round}-${name}-${client}`;
        const broker = rabbit === null || !needsBroker(each) ? null : { url: rabbit.url, port: rabbit.port, topic };
        const figures = await measure({ ...shape, case: name, client, folder: at, broker });
        const list = measured.get(name)?.get(client) ?? [];
        measured.get(name)?.set(client, [...list, figures]);
        problems.push(...figures.problems.map((problem) => `${name}, ${client}: ${problem}`));
        say(
          `round ${round + 1}/${rounds}  ${name}  ${client}: ${Math.round(figures.rate).toLocaleString("en")}/s, ${figures.cpuMicros.toFixed(2)} µs${saidOf(figures)}`,
        );
        for (const problem of figures.problems) say(`    ${problem}`);
      }
    }
  }
  const rows = cases.flatMap(({ name, raw }) => rowsOf(name, measured.get(name) ?? new Map(), raw));
  return { rows, goals: [`stores in ${at} (${fileSystemOf(at)})`, ...goalsOf(measured)], problems };
}

const needsBroker = ({ subject }: OutboxCase): boolean => subject !== "puts" && subject !== "memory";

async function measure(task: OutboxTask): Promise<OutboxMeasure> {
  const flags = task.subject === "memory" ? ["--expose-gc"] : [];
  const { stdout } = await run(process.execPath, [...flags, PROCESS, JSON.stringify(task)], { timeout: LIMIT_MS });
  return JSON.parse(stdout.trim().split("\n").at(-1) ?? "") as OutboxMeasure;
}

/** A store on tmpfs has no fsync to wait for: the figures say where they were taken. */
function fileSystemOf(path: string): string {
  const known: Readonly<Record<number, string>> = {
    0xef53: "ext4",
    0x01021994: "tmpfs",
    0x58465342: "xfs",
    0x9123683e: "btrfs",
    0x794c7630: "overlay",
  };
  const { type } = statfsSync(path);
  return known[type] ?? `file system 0x${type.toString(16)}`;
}
