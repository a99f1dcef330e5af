import { defineConfig } from "vitest/config";
import { NODE_FLAGS } from "./integration-tests/workload/node-flags.ts";

// Each project is a stage of `npm test` (.ci/test.ts). Test files are named here, never
// found by default patterns: those would also find compiled copies in dist.
const execArgv = [...NODE_FLAGS];

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          execArgv,
          // Polls end as soon as they hold; the default second is too short for a busy machine.
          expect: { poll: { timeout: 8_000 } },
          include: [
            "packages/*/test/**/*.test.ts",
            "{bench,compare,integration-tests/{demo,workload,crash,halves}}/test/**/*.test.ts",
          ],
          // Many wait more than they compute: not one core fewer, as is vitest's default.
          maxWorkers: "100%",
          testTimeout: 30_000,
        },
      },
      {
        test: {
          name: "house",
          execArgv,
          include: ["integration-tests/house/**/*.test.ts"],
          testTimeout: 20_000,
        },
      },
      {
        test: {
          name: "examples",
          execArgv,
          include: ["examples/**/*.test.ts"],
          globalSetup: ["integration-tests/brokers/vitest/shared-rabbit.ts"],
          testTimeout: 120_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
      {
        test: {
          name: "packages",
          execArgv,
          include: ["integration-tests/packages/**/*.test.ts"],
          testTimeout: 180_000,
          hookTimeout: 300_000,
          fileParallelism: false,
        },
      },
      {
        // Containers: the first start builds images, and one broker after the other is enough for two cores.
        test: {
          name: "integration",
          execArgv,
          expect: { poll: { timeout: 20_000 } },
          include: ["integration-tests/**/*.test.ts", "compare/faults/*.test.ts"],
          exclude: ["integration-tests/{house,packages,{demo,workload,crash,halves}/test}/**", "**/node_modules/**"],
          globalSetup: ["integration-tests/brokers/vitest/shared-rabbit.ts"],
          testTimeout: 120_000,
          hookTimeout: 600_000,
          fileParallelism: false,
        },
      },
    ],
  },
});
