// npm test                        all stages
// npm run check                   the quick ones
// npm test -- unit lint           these
//
// Every stage runs, also after one failed. The last line is `N passed, N failed`,
// counted over all that ran; the exit status is 0 only if nothing failed.
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { crash, demo, interrupt, tests, tool, type Stage } from "./stage.ts";

const BITTEN = ["resends", "spilled", "duplicateDeliveries"];

// Quick ones first; never two at once, since the brokers and the demo want all cores.
const STAGES: readonly Stage[] = [
  tool("format", ["oxfmt", "--check"], { quick: true }),
  tool("lint", ["oxlint"], { quick: true }),
  tool("types", ["tsc", "-b"], { quick: true }),
  tests("house", { quick: true }),
  tests("unit", { quick: true, minutes: 12 }),
  tool("unused", ["knip"]),
  tool("api", ["node", ".ci/api-report.ts"]),
  tests("packages", { minutes: 10 }),
  demo("memory", 10, BITTEN),
  tests("integration", { minutes: 40 }),
  tests("examples", { minutes: 10 }),
  demo("rabbitmq", 15, BITTEN),
  // No node is away for as long as it takes to store, and the client repeats in place.
  demo("kafka", 10, ["duplicateDeliveries"]),
  demo("rocketmq", 10, BITTEN),
  crash(10),
];

const chosen = choose(process.argv.slice(2));
const scratch = await mkdtemp(join(tmpdir(), "tally-test-"));
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
  process.on(signal, () => {
    interrupt(signal);
    process.exit(130);
  });
}

const rows: { name: string; seconds: number; passed: number; failed: readonly string[] }[] = [];
for (const [index, stage] of chosen.entries()) {
  console.log(`\n── ${index + 1}/${chosen.length} ${stage.name}: ${stage.shows}`);
  const started = performance.now();
  const count = await stage.run(scratch);
  rows.push({ name: stage.name, seconds: (performance.now() - started) / 1000, ...count });
}
await rm(scratch, { recursive: true, force: true });

const failures = rows.flatMap(({ name, failed }) => failed.map((what) => `${name}: ${what}`));
if (failures.length > 0) console.log(`\nfailed:\n${failures.map((each) => `  ${each}`).join("\n")}`);
const line = (...[name, minutes, passed, failed]: readonly (string | number)[]): string =>
  String(name).padEnd(14) + [minutes, passed, failed].map((cell) => String(cell).padStart(9)).join("");
const seconds = rows.reduce((sum, row) => sum + row.seconds, 0);
const passed = rows.reduce((sum, row) => sum + row.passed, 0);
console.log(`\n${line("stage", "minutes", "passed", "failed")}`);
for (const row of rows)
  console.log(line(row.name, (row.seconds / 60).toFixed(2), row.passed, row.failed.length || "-"));
console.log(line("all", (seconds / 60).toFixed(2), passed, failures.length || "-"));
console.log(`\n${passed} passed, ${failures.length} failed`);
process.exitCode = failures.length === 0 ? 0 : 1;

function choose(args: readonly string[]): readonly Stage[] {
  const known = ["--quick", ...STAGES.map((stage) => stage.name)];
  const unknown = args.filter((arg) => !known.includes(arg));
  if (unknown.length > 0) {
    console.error(`no such stage: ${unknown.join(", ")}. There are: ${known.slice(1).join(", ")}`);
    process.exit(2);
  }
  const names = args.filter((arg) => arg !== "--quick");
  return STAGES.filter((stage) =>
    names.length > 0 ? names.includes(stage.name) : !args.includes("--quick") || stage.quick,
  );
}
