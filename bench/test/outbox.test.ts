import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { goalsOf, rowsOf } from "../outbox/figures.ts";
import { flat } from "../outbox/memory.ts";
import { counted, slope } from "../outbox/meter.ts";
import { puts } from "../outbox/puts.ts";
import { idOf, KEYS, lost, Seen } from "../outbox/queue.ts";
import type { OutboxMeasure, OutboxTask } from "../outbox/task.ts";
import { effectsOf } from "../outbox/tx.ts";

let folder: string;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "tally-bench-test-"));
});
afterEach(() => rmSync(folder, { recursive: true }));

describe("what must hold in the outbox bench", () => {
  it("an effect that is missing, or that is there twice, or a message that was not acked, is a problem", () => {
    const path = join(folder, "effects.db");
    const sql = new DatabaseSync(path);
    sql.exec("CREATE TABLE bills (id TEXT NOT NULL); INSERT INTO bills VALUES ('order-0'), ('order-1')");
    expect(effectsOf(path, 2, 0)).toEqual([]);
    expect(effectsOf(path, 3, 0)).toEqual(["1 of 3 messages had no effect"]);
    expect(effectsOf(path, 2, 5)).toEqual(["5 messages are still in the queue"]);
    sql.exec("INSERT INTO bills VALUES ('order-1')");
    sql.close();
    expect(effectsOf(path, 2, 0)).toEqual(["1 effects were made twice"]);
  });

  it("an accepted message that is not in the queue, or whose first copy passed one of its key, is a problem", () => {
    const seen = new Seen();
    const [a, b] = [0, 1];
    for (const n of [a, b, a + KEYS, a, b + 2 * KEYS]) seen.add(idOf(n));
    expect(lost(seen, 4)).toEqual([]);
    expect(lost(seen, 5)).toEqual(["1 of 5 accepted messages are not in the queue"]);
    seen.add(idOf(b + KEYS));
    expect(lost(seen, 5)).toEqual(["1 messages came behind a later one of their key"]);
  });

  it("memory that grows by a megabyte for each 100,000 messages is a problem", () => {
    const growing = [0, 50_000, 100_000, 150_000].map((at) => [at, 7 + at * 10] as const);
    expect(slope(growing)).toBeCloseTo(10);
    expect(flat({ residentMB: 0.9, usedMB: 0.1 })).toEqual([]);
    expect(flat({ residentMB: 1.2, usedMB: 0.1 })).toHaveLength(1);
    expect(flat({ residentMB: -3, usedMB: 1 })).toHaveLength(1);
  });

  it("each answered put has its row", async () => {
    const task: OutboxTask = {
      case: "puts-10-256",
      subject: "puts",
      client: "tally",
      folder,
      broker: null,
      bytes: 256,
      callers: 10,
      messages: 0,
      seconds: 0.1,
    };
    expect(await puts(task)).toMatchObject({ problems: [], stall: expect.any(Object) as object });
    expect(counted("rows", 9, 10)).toEqual(["rows: 9 of 10"]);
  });
});

describe("the figures of the outbox bench", () => {
  const measure = (rate: number, wallMs = 1): OutboxMeasure => ({
    rate,
    cpuMicros: 2,
    stall: { wallMs, cpuMs: wallMs },
    said: {},
    problems: [],
  });

  it("are medians, and ratios to what was done by hand in the same round", () => {
    const clients = new Map([
      ["tally", [measure(50), measure(400), measure(90)]],
      ["sqlite", [measure(100), measure(200), measure(100)]],
    ]);
    expect(rowsOf("puts", clients, "sqlite")).toMatchObject([
      { case: "puts", client: "sqlite", rate: 100, ratio: 1 },
      { case: "puts", client: "tally", rate: 90, cpuMicros: 2, ratio: 0.9 },
    ]);
  });

  it("say whether a goal was met", () => {
    const measured = (rate: number, wallMs: number): Map<string, Map<string, OutboxMeasure[]>> =>
      new Map([["puts-1000-256", new Map([["tally", [measure(rate, wallMs)]]])]]);
    expect(goalsOf(measured(300_000, 9)).map((line) => line.slice(-5))).toEqual(["(met)", "(met)"]);
    expect(goalsOf(measured(299_000, 11)).map((line) => line.slice(-8))).toEqual(["(missed)", "(missed)"]);
  });
});
