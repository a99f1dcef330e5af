import { readFileSync } from "node:fs";
import { expect, it } from "vitest";
import { CHECKS } from "../../src/audit/checks.ts";

const page = readFileSync(new URL("../../../../docs/audit.md", import.meta.url), "utf8");

it("docs/audit.md shows the table of RocketMQ's checks as it is, and no other check", () => {
  const section = page.split("\n## ").find((one) => one.startsWith("Findings of RocketMQ")) ?? "";
  const rows = CHECKS.map(
    ({ name, severity, title, why, fix }) => `| \`${name}\` | ${severity} | ${title} | ${why} | \`${fix}\` |`,
  );
  expect(section.split("\n").filter((line) => line.startsWith("| `"))).toEqual(rows);
});
