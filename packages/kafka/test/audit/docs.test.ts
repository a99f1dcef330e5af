import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { CHECKS } from "../../src/audit/checks.ts";

const page = readFileSync(new URL("../../../../docs/audit.md", import.meta.url), "utf8");

describe("docs/audit.md", () => {
  it("shows the table of Kafka's checks as it is, and no other check", () => {
    const rows = CHECKS.map(
      ({ name, severity, title, why, fix }) =>
        `| \`${name}\` | ${severity} | ${title} | ${why} | \`${fix.replaceAll("|", "\\|")}\` |`,
    );
    const [, room = ""] = page.split("\n## Findings of Kafka\n");
    const shown = room.split("\n## ")[0]!.split("\n");
    expect(shown.filter((line) => line.startsWith("| `"))).toEqual(rows);
  });
});
