import { execFile, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { promisify } from "node:util";
import { expect, onTestFinished, test, vi } from "vitest";
import type { Settings } from "./arguments.ts";
import type { DemoReport } from "./judge.ts";
import { planOf, runDemo, type Variation } from "./run.ts";

const settings: Settings = {
  broker: "memory",
  client: "tally",
  store: "sqlite",
  messages: 2_400,
  seed: 3,
  json: null,
  report: null,
};
const quiet = { step: () => {}, progress: () => {} };

async function run(variation: Variation, change: Partial<Settings> = {}): Promise<DemoReport> {
  const report = await runDemo({ ...settings, ...change }, quiet, new AbortController().signal, variation);
  onTestFinished(() => rmSync(report.folder, { recursive: true, force: true }));
  return report;
}

test("under every fault each message is accepted and takes effect once", async () => {
  const report = await run({});
  expect(report.reasons).toEqual([]);
  expect(report.figures, report.reasons.join("; ")).toMatchObject({
    accepted: 2_400,
    lost: 0,
    rejected: 0,
    duplicateEffects: 0,
    faults: 6,
    verdict: "VALID",
  });
  expect(report.figures.resends).toBeGreaterThan(0);
  expect(report.figures.duplicateDeliveries).toBeGreaterThan(0);
  expect(report.timeline.faults.map(({ kind }) => kind)).toEqual([
    "broker-killed",
    "publisher-killed",
    "consumer-killed",
    "connections-cut",
    "broker-away",
    "relay-killed",
  ]);
  for (const { inFlight } of report.timeline.faults) expect(inFlight).toBeGreaterThan(0);
  expect(report.timeline.faults.find(({ kind }) => kind === "relay-killed")?.waiting).toBeGreaterThan(0);
  expect(report.figures.spilled).toBeGreaterThan(0);
  expect(existsSync(report.folder)).toBe(false);
});

test("a consumer that leaves its group and comes back, again and again, loses and doubles nothing", async () => {
  const plan = [0.2, 0.5].map((share) => ({ kind: "rebalance", share, victim: 1, within: null }) as const);
  const report = await run({ rate: 600, plan });
  expect(report.figures, report.reasons.join("; ")).toMatchObject({
    ...{ accepted: 2_400, lost: 0, rejected: 0, duplicateEffects: 0, faults: 2 },
  });
  expect(report.ledger.counts.STUCK).toBe(0);
});

test("a consumer without its inbox bills twice, and that is found", async () => {
  const plan = planOf(settings).filter(({ kind }) => kind === "broker-killed" || kind === "connections-cut");
  const report = await run({ bug: "no-inbox", rate: 600, plan });
  expect(report.figures, report.reasons.join("; ")).toMatchObject({ verdict: "INVALID", lost: 0 });
  expect(report.figures.duplicateEffects).toBeGreaterThan(0);
  expect(report.exitCode).toBe(1);
  expect(existsSync(join(report.folder, "ledger"))).toBe(true);
});

test("a consumer that is acked before its effect, and killed, is found", async () => {
  const plan = planOf(settings).filter(({ kind }) => kind === "consumer-killed");
  const report = await run({ bug: "ack-first", rate: 600, plan, quiet: 1_500 });
  expect(report.figures, report.reasons.join("; ")).toMatchObject({ verdict: "INVALID", duplicateEffects: 0 });
  expect(report.figures.lost).toBeGreaterThan(0);
  expect(report.ledger.lostBy.consumer).toBe(report.figures.lost);
});

test("a delivery that is left without its ack is found", async () => {
  const report = await run({ bug: "unsettled", rate: 1_000, plan: [], quiet: 1_500 }, { messages: 300 });
  expect(report.figures, report.reasons.join("; ")).toMatchObject({
    ...{ verdict: "INVALID", accepted: 300, lost: 0, duplicateEffects: 0 },
  });
  expect(report.ledger.counts.STUCK).toBe(1);
});

test("a publisher that was killed and does not publish again what was cut short is found", async () => {
  const plan = planOf(settings).filter(({ kind }) => kind === "publisher-killed");
  const report = await run({ bug: "forgetful", rate: 600, plan, quiet: 1_500 });
  expect(report.figures, report.reasons.join("; ")).toMatchObject({ verdict: "INVALID", lost: 0, duplicateEffects: 0 });
  expect(report.reasons[0]).toMatch(/were never accepted/);
});

test("a run whose fault found only idle moments proves nothing", async () => {
  const plan = [{ kind: "broker-killed", share: 2, victim: 0, within: null }] as const;
  const report = await run({ rate: 2_000, patience: 300, plan }, { messages: 300 });
  expect(report).toMatchObject({ exitCode: 2, figures: { verdict: "UNKNOWN", accepted: 300, faults: 0 } });
  expect(report.reasons.join("\n")).toMatch(/never met a moment/);
});

test("ended from outside it leaves no process and no folder", async () => {
  const folder = ownTemporaryFolder();
  const stop = new AbortController();
  let pids: readonly number[] = [];
  const watcher = {
    step() {},
    progress({ accepted }: { accepted: number }) {
      if (accepted < 100 || stop.signal.aborted) return;
      pids = childrenOf(process.pid);
      stop.abort(new Error("enough"));
    },
  };
  await expect(runDemo(settings, watcher, stop.signal, {})).rejects.toThrow("enough");
  expect(pids.length).toBeGreaterThanOrEqual(7);
  expect(pids.filter(isAlive)).toEqual([]);
  expect(readdirSync(folder)).toEqual([]);
});

test("a run that reaches its limit ends there, judged by what it left", async () => {
  const report = await run({ rate: 100, limit: 3_000 });
  expect(report).toMatchObject({ exitCode: 2, figures: { verdict: "UNKNOWN" } });
  expect(report.reasons[0]).toMatch(/not over after 3 s/);
});

test("whoever kills the director leaves nothing running", async () => {
  // A killed director cannot put its folder away.
  ownTemporaryFolder();
  const director = spawn(process.execPath, [join(import.meta.dirname, "main.ts")], { stdio: "ignore" });
  onTestFinished(() => void director.kill("SIGKILL"));
  const pids = await until(() => {
    const children = childrenOf(director.pid!);
    return children.length >= 7 ? children : null;
  });
  director.kill("SIGKILL");
  await until(() => (pids.some(isAlive) ? null : true));
});

test("the command writes its figures and the page, and its exit code is the verdict's", async () => {
  const folder = mkdtempSync(join(tmpdir(), "tally-command-"));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const [json, page] = [join(folder, "figures.json"), join(folder, "page.html")];
  const main = join(import.meta.dirname, "main.ts");
  const { stdout } = await promisify(execFile)(process.execPath, [
    main,
    "--messages",
    "4000",
    "--json",
    json,
    "--report",
    page,
  ]);
  expect(stdout).toMatch(/VERDICT: VALID\nreport: /);
  expect(Object.keys(JSON.parse(readFileSync(json, "utf8")))).toEqual([
    "broker",
    "store",
    "client",
    "accepted",
    "lost",
    "rejected",
    "duplicateDeliveries",
    "duplicateEffects",
    "resends",
    "spilled",
    "faults",
    "seconds",
    "verdict",
  ]);
  expect(readFileSync(page, "utf8")).toMatch(/^<!doctype html>[^]*<svg/);
});

async function until<T>(ask: () => T | null): Promise<T> {
  const deadline = performance.now() + 20_000;
  for (;;) {
    const answer = ask();
    if (answer !== null) return answer;
    if (performance.now() > deadline) throw new Error("waited 20 s in vain");
    await sleep(20);
  }
}

/** Where the demo puts its folders within a test: somebody else's demo may run beside it. */
function ownTemporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "tally-test-"));
  vi.stubEnv("TMPDIR", folder);
  onTestFinished(() => {
    vi.unstubAllEnvs();
    rmSync(folder, { recursive: true });
  });
  return folder;
}

/** Linux only, as are the machines that run these tests: the fourth field of a process's `stat` is its parent. */
function childrenOf(parent: number): readonly number[] {
  const pids = readdirSync("/proc")
    .filter((name) => /^\d+$/.test(name))
    .map(Number);
  return pids.filter((pid) => statOf(pid)?.[1] === String(parent));
}

function isAlive(pid: number): boolean {
  const state = statOf(pid)?.[0];
  return state !== undefined && state !== "Z";
}

function statOf(pid: number): readonly string[] | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  } catch {
    return null;
  }
}
