import { spawn } from "node:child_process";
import { once } from "node:events";
import { stat } from "node:fs/promises";
import { join } from "node:path";
import { expect, test } from "vitest";
import { LedgerReader, LedgerWriter } from "@tallymq/testkit/ledger";
import type { LedgerLine } from "@tallymq/testkit/ledger";
import { inFolder } from "./runs.ts";

const read = (folder: string, name: string): { file: ReturnType<LedgerReader["read"]>; lines: LedgerLine[] } => {
  const lines: LedgerLine[] = [];
  return { file: new LedgerReader(folder).read(name, (line) => lines.push(line)), lines };
};

test("a kill -9 right after a write loses nothing of it", async () => {
  await inFolder(async (folder) => {
    const program = `
      import { LedgerWriter } from ${JSON.stringify(new URL("../../src/ledger/index.ts", import.meta.url).href)};
      const writer = new LedgerWriter({ folder: ${JSON.stringify(folder)}, run: "run", proc: "pub" });
      for (let n = 0; n < 5000; n++) writer.write({ op: "invoke", id: "m" + n });
      process.kill(process.pid, "SIGKILL");
    `;
    const child = spawn(process.execPath, ["--input-type=module", "-e", program], { stdio: "inherit" });
    const [, signal] = await once(child, "exit");
    expect(signal).toBe("SIGKILL");
    const { file, lines } = read(folder, "run.pub.1.jsonl");
    expect(lines).toHaveLength(5000);
    expect(lines.at(-1)).toMatchObject({ op: "invoke", id: "m4999", i: 5000 });
    expect(file).toMatchObject({ ended: false, torn: false, problems: [] });
  });
});

test("what is written is read back, whatever the ids hold", async () => {
  await inFolder(async (folder) => {
    const ids = ["plain", 'quotes"\\', "line\nbreak", "naïve ☃ 𝄞", "\u0000", "__proto__", "\ud800", "x".repeat(5000)];
    const writer = new LedgerWriter({ folder, run: "run", proc: "pub" });
    for (const id of ids) writer.write({ op: "invoke", id, key: null, seq: 1 });
    writer.close();
    writer.close();
    const { file, lines } = read(folder, "run.pub.1.jsonl");
    expect(lines.slice(0, -1).map((line) => line.op === "invoke" && line.id)).toEqual(ids);
    expect(file).toMatchObject({ ended: true, lines: ids.length + 1, problems: [] });
    expect((await stat(join(folder, file.name))).mode & 0o777).toBe(0o600);
    expect(() => writer.write({ op: "heal" })).toThrow(/closed/);
  });
});

test("each incarnation takes the next epoch, and none takes another's file", async () => {
  await inFolder(async (folder) => {
    const open = (epoch?: number): LedgerWriter =>
      new LedgerWriter({ folder, run: "run", proc: "pub", ...(epoch === undefined ? {} : { epoch }) });
    using first = open();
    using second = open();
    expect([first.incarnation.epoch, second.incarnation.epoch]).toEqual([1, 2]);
    expect(() => open(2)).toThrow(/EEXIST/);
  });
});

test.each([{ run: "../run" }, { proc: "a.b" }, { proc: "" }, { epoch: 0 }, { epoch: 1.5 }])(
  "a name that could not be a file's is refused: %o",
  async (wrong) => {
    await inFolder(async (folder) => {
      expect(() => new LedgerWriter({ folder, run: "run", proc: "pub", ...wrong })).toThrow(RangeError);
    });
  },
);
