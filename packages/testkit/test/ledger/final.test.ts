import { describe, expect, test } from "vitest";
import { judge, LedgerWriter, writeFinal } from "@tallymq/testkit/ledger";
import { edit, even, inFolder, writeLogs } from "./runs.ts";

describe("the final state in the folder", () => {
  const written = (change: (text: string) => string = (text) => text, given = false) =>
    inFolder(async (folder) => {
      writeLogs(folder, even.logs);
      const writer = new LedgerWriter({ folder, run: "run", proc: "auditor" });
      await writeFinal(writer, even);
      writer.close();
      await edit("run.auditor.1.jsonl", change)(folder);
      return judge(given ? { folder, final: even } : { folder });
    });

  test("is judged as if it had been handed over", async () => {
    expect((await written()).verdict).toBe("VALID");
  });
  test("is UNKNOWN when it is not there", async () => {
    const report = await inFolder(async (folder) => (writeLogs(folder, even.logs), judge({ folder })));
    expect(report.verdict).toBe("UNKNOWN");
    expect(report.doubts).toContainEqual({ kind: "dump", reason: "there is no final state" });
    expect(report.counts.LOST).toBe(2); // counted, and not held against anybody
  });
  test("is UNKNOWN when a row of it is missing", async () => {
    const report = await written((text) =>
      text
        .split("\n")
        .slice(1)
        .map((line, at) => line.replace(/"i":\d+/, `"i":${at + 1}`))
        .join("\n"),
    );
    expect(report.verdict).toBe("UNKNOWN");
    expect(report.doubts).toEqual([
      { kind: "dump", reason: "the final state does not have the rows that it says it has" },
    ]);
  });
  test("is UNKNOWN when it is given twice", async () => {
    expect((await written(undefined, true)).verdict).toBe("UNKNOWN");
  });
});
