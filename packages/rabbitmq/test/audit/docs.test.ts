import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { CHECKS } from "../../src/audit/checks.ts";

const page = readFileSync(new URL("../../../../docs/audit.md", import.meta.url), "utf8");

describe("docs/audit.md", () => {
  it("shows the table of checks as it is, and no other check", () => {
    const rows = CHECKS.map(
      ({ name, severity, title, why, fix }) =>
        `| \`${name}\` | ${severity} | ${title} | ${why} | \`${fix.replaceAll("|", "\\|")}\` |`,
    );
    const shown = page
      .replace(/## Findings of (?!RabbitMQ|every)[^]*?(?=\n## )/g, "")
      .split("\n")
      .filter((line) => line.startsWith("| `") && line.split(" | ").length >= 5);
    expect(shown.slice(0, rows.length)).toEqual(rows);
    // Core's own.
    expect(shown.slice(rows.length).map((line) => line.split("`")[1])).toEqual(["inbox-scope", "unaudited"]);
  });
});
