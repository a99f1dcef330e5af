import { rmSync } from "node:fs";
import { expect, onTestFinished, test } from "vitest";
import { planOf, runDemo } from "./run.ts";

const quiet = { step: () => {}, progress: () => {} };

// The same run with Tally on RabbitMQ is `npm run demo -- --broker rabbitmq`, a stage of `npm test` in full length.
test("plain amqplib loses messages under the same faults, and the checker sees it", async () => {
  const settings = {
    broker: "rabbitmq",
    client: "amqplib",
    store: "none",
    messages: 5_000,
    seed: 1,
    json: null,
    report: null,
  } as const;
  // The two faults that it cannot survive, at a pace at which something is always on its way.
  const plan = planOf(settings).filter(({ kind }) => kind.startsWith("broker-"));
  const report = await runDemo(settings, quiet, new AbortController().signal, { quiet: 3_000, rate: 2_500, plan });
  onTestFinished(() => rmSync(report.folder, { recursive: true, force: true }));
  expect(report.reasons.join("\n")).toMatch(/^LOST: \d+ /);
  expect(report.figures, report.reasons.join("; ")).toMatchObject({
    verdict: "INVALID",
    accepted: 5_000,
    rejected: 0,
    store: "none",
    spilled: 0,
    faults: 2,
  });
  expect(report.figures.lost).toBeGreaterThan(0);
  expect(report.exitCode).toBe(1);
  // The broker never promised anything for these, and no consumer ever had them in hand.
  expect(report.ledger.lostBy).toEqual({ outbox: report.figures.lost, broker: 0, consumer: 0 });
});
