import { rmSync } from "node:fs";
import { expect, onTestFinished, test } from "vitest";
import { runDemo } from "./run.ts";

const settings = {
  broker: "rocketmq",
  client: "tally",
  store: "sqlite",
  messages: 800,
  seed: 5,
  json: null,
  report: null,
} as const;
const quiet = { step: () => {}, progress: () => {} };

// The same with everything else that may go wrong is `npm run demo -- --broker rocketmq`.
test(
  "on an ordered topic 64 keys keep their order at three consumers, of which one after the other is killed",
  { timeout: 240_000 },
  async () => {
    const plan = [0, 1, 2].map((victim) => ({
      kind: "consumer-killed" as const,
      share: 0.2 + 0.25 * victim,
      victim,
      within: null,
    }));
    const report = await runDemo(settings, quiet, new AbortController().signal, { ordered: true, plan });
    onTestFinished(() => rmSync(report.folder, { recursive: true, force: true }));
    expect(report.figures, report.reasons.join("; ")).toMatchObject({
      ...{ accepted: 800, lost: 0, rejected: 0, duplicateEffects: 0, faults: 3 },
    });
    expect(report.ledger.counts.ORDER).toBe(0);
  },
);

// What is out, and not acked, is in no count of the broker's until it comes back.
test("a delivery that is left without its ack is found", { timeout: 240_000 }, async () => {
  const variation = { bug: "unsettled", rate: 300, plan: [] } as const;
  const report = await runDemo({ ...settings, messages: 300 }, quiet, new AbortController().signal, variation);
  onTestFinished(() => rmSync(report.folder, { recursive: true, force: true }));
  expect(report.figures, report.reasons.join("; ")).toMatchObject({
    ...{ verdict: "INVALID", accepted: 300, lost: 0, duplicateEffects: 0 },
  });
  expect(report.ledger.counts.STUCK).toBe(1);
});
