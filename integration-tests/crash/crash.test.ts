// The matrix itself: a mistake that is planted must be found, and a point that is not reached proves nothing.
// The runs themselves are `npm run crash`, a stage of `npm test`.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Failpoint } from "@tallymq/testkit/crash";
import { afterAll, beforeAll, expect, test } from "vitest";
import { type Broker, startBroker } from "./broker.ts";
import type { Bug } from "./members/job.ts";
import { crashRun, type RunReport } from "./run.ts";

let folder = "";
let broker: Broker;
let runs = 0;

beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "tally-matrix-"));
  broker = await startBroker("memory", folder, () => {});
});
afterAll(async () => {
  await broker[Symbol.asyncDispose]();
  rmSync(folder, { recursive: true, force: true });
});

function run(point: Failpoint, change: { bug?: Bug; pass?: number } = {}): Promise<RunReport> {
  runs += 1;
  const { signal } = new AbortController();
  return crashRun({ point, broker, seed: runs, folder: join(folder, `run-${runs}`), signal, ...change });
}

test("a consumer that dies with its effect committed and its ack unsent is billed once", async () => {
  expect(await run("inbox.committed")).toMatchObject({ hit: true, verdict: "VALID", reasons: [] });
});

test("a consumer that acks first loses what it was at", async () => {
  const report = await run("settlement.handed", { bug: "ack-first" });
  expect(report).toMatchObject({ hit: true, verdict: "INVALID" });
  expect(report.reasons[0]).toMatch(/^LOST order-\d+: delivered/);
});

test("a consumer without its inbox bills twice", async () => {
  const report = await run("settlement.due", { bug: "no-inbox" });
  expect(report).toMatchObject({ hit: true, verdict: "INVALID" });
  expect(report.reasons[0]).toMatch(/^DUPLICATE order-\d+: 2 effects/);
});

test("a publisher that does not publish again what it began leaves orders out", async () => {
  const report = await run("publisher.called", { bug: "forgetful" });
  expect(report).toMatchObject({ hit: true, verdict: "INVALID" });
  expect(report.reasons.join("\n")).toMatch(/orders were never accepted/);
});

test("a point that is not reached proves nothing", async () => {
  const report = await run("publisher.accepted", { pass: 100_000 });
  expect(report).toMatchObject({ hit: false, verdict: "UNKNOWN" });
  expect(report.reasons.join("\n")).toMatch(/never seen: killed-at:publisher\.accepted/);
});
