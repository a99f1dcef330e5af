// The short form of `npm run halves`: half messages on a real RocketMQ whose producers are killed again and again.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, expect, test } from "vitest";
import { startRocket } from "../brokers/index.ts";
import { BROKER_CONFIG, halvesRun } from "./run.ts";

const node = await startRocket({ config: BROKER_CONFIG });
const folder = mkdtempSync(join(tmpdir(), "tally-halves-"));
afterAll(async () => {
  await node.stop();
  rmSync(folder, { recursive: true, force: true });
});

test("200 half messages, producers killed in each window, and none alive for longer than the broker asks: all come even", async () => {
  const lines: string[] = [];
  const report = await halvesRun({
    node,
    transactions: 200,
    demands: { killed: 12, dropped: 4 },
    together: 8,
    downtimes: 1,
    seed: 1,
    folder,
    signal: AbortSignal.timeout(540_000),
    step: (line) => lines.push(line),
  }).catch((thrown: unknown) => {
    throw new Error(lines.join("\n"), { cause: thrown });
  });
  expect(report, lines.join("\n")).toMatchObject({ verdict: "VALID", reasons: [] });
}, 570_000);
