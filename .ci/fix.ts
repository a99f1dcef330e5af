// npm run fix: what tools can put right by themselves, lint first, then layout.
//   npm run fix -- packages/core      only there
import { spawnSync } from "node:child_process";

const where = process.argv.slice(2);
for (const [tool, ...args] of [
  ["oxlint", "--fix", ...where],
  ["oxfmt", ...where],
] as const) {
  const { status } = spawnSync(tool, args, { stdio: "inherit" });
  if (status !== 0) process.exitCode = 1;
}
