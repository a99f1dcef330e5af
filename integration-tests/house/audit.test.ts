// docs/audit.md shows what the audit looks at: each adapter's table of checks, row by row.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import type { AuditCheck } from "@tallymq/core/spi";
import { describe, expect, it } from "vitest";
import { CHECKS as KAFKA } from "../../packages/kafka/src/audit/checks.ts";
import { CHECKS as RABBITMQ } from "../../packages/rabbitmq/src/audit/checks.ts";
import { CHECKS as ROCKETMQ } from "../../packages/rocketmq/src/audit/checks.ts";

const page = readFileSync(join(import.meta.dirname, "..", "..", "docs", "audit.md"), "utf8");

/** Rows of the tables of checks under a heading. */
function shown(heading: string): readonly string[] {
  const section = page.split("\n## ").find((one) => one.startsWith(`${heading}\n`)) ?? "";
  return section.split("\n").filter((line) => line.startsWith("| `") && line.split(" | ").length >= 5);
}

describe("docs/audit.md", () => {
  it.each<[string, readonly AuditCheck[]]>([
    ["RabbitMQ", RABBITMQ],
    ["Kafka", KAFKA],
    ["RocketMQ", ROCKETMQ],
  ])("shows the table of %s's checks as it is, and no other check", (broker, checks) => {
    const rows = checks.map(
      ({ name, severity, title, why, fix }) =>
        `| \`${name}\` | ${severity} | ${title} | ${why} | \`${fix.replaceAll("|", "\\|")}\` |`,
    );
    expect(shown(`Findings of ${broker}`)).toEqual(rows);
  });

  it("shows core's own checks", () => {
    expect(shown("Findings of every broker").map((line) => line.split("`")[1])).toEqual(["inbox-scope", "unaudited"]);
  });
});
