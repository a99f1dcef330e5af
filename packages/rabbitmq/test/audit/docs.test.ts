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
    const shown = (heading: string): readonly string[] => {
      const [, room = ""] = page.split(`\n## ${heading}\n`);
      return room
        .split("\n## ")[0]!
        .split("\n")
        .filter((line) => line.startsWith("| `") && line.split(" | ").length >= 5);
    };
    expect(shown("Findings of RabbitMQ")).toEqual(rows);
    // Core's own.
    expect(shown("Findings of every broker").map((line) => line.split("`")[1])).toEqual(["inbox-scope", "unaudited"]);
  });
});
