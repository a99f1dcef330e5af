// One table of runs, since they are read together: each verdict beside the run that just escapes it.
import { appendFile, readFile, rm, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { formatReport, judge, LedgerWriter } from "@tallymq/testkit/ledger";
import type { Expectation, LedgerOp, LedgerVerdict, Violation } from "@tallymq/testkit/ledger";
import { accepted, consumed, edit, even, inFolder, judged, writeLogs } from "./runs.ts";
import type { Run } from "./runs.ts";

const log = (proc: string, change: (ops: readonly LedgerOp[]) => readonly LedgerOp[]): Run => ({
  ...even,
  logs: even.logs.map((one) => (one.proc === proc ? { ...one, ops: change(one.ops) } : one)),
});
const plus = (proc: string, ...more: LedgerOp[]): Run => log(proc, (ops) => [...ops, ...more]);
const killedCon = (recorded: boolean): Run => ({
  ...log("director", (ops) =>
    recorded ? [{ op: "fault-begin", kind: "kill", victim: { proc: "con", epoch: 1 } }, ...ops] : ops,
  ),
});
const without = (run: Run, proc: string): Run => ({
  ...run,
  logs: run.logs.map((one) => (one.proc === proc ? { ...one, ends: false } : one)),
});

/** Three messages of one ordered key, in the order of their calls, with the commits of their effects. */
function inOrder(
  commits: readonly [number, number, number],
  change: {
    readonly keys?: readonly [string, string, string];
    readonly apart?: boolean;
    readonly restarted?: boolean;
    readonly seq?: boolean;
    readonly again?: string;
  } = {},
): Run {
  const { keys = ["x", "x", "x"], apart = false, restarted = false, seq = true, again } = change;
  const calls = commits.map((_, n) => {
    const [invoke, ...rest] = accepted(`k${n}`);
    return [{ ...invoke, key: keys[n], ...(seq ? { seq: n + 1 } : {}) } as LedgerOp, ...rest];
  });
  const logs = restarted
    ? calls.map((ops, n) => ({ proc: "keyed", epoch: n + 1, ends: true, ops }))
    : apart
      ? calls.map((ops, n) => ({ proc: `keyed-${n}`, epoch: 1, ends: true, ops }))
      : [
          {
            proc: "keyed",
            epoch: 1,
            ends: true,
            ops: [...calls.flat(), ...(again === undefined ? [] : accepted(again))],
          },
        ];
  return {
    ...even,
    logs: [...even.logs, ...logs],
    effects: [
      ...even.effects,
      ...commits.map((commit, n) => ({ id: `k${n}`, commit: 10 + commit, bodyHash: `h-k${n}` })),
    ],
  };
}

interface Case {
  readonly name: string;
  readonly run: Run;
  readonly expect?: Expectation;
  readonly damage?: (folder: string) => Promise<void>;
  readonly verdict: LedgerVerdict;
  readonly counts?: Partial<Record<Violation, number>>;
  readonly doubt?: RegExp;
}

const dropLine = (at: number) => (text: string) =>
  text
    .split("\n")
    .filter((_, line) => line !== at)
    .join("\n");

const cases: readonly Case[] = [
  { name: "a run that comes even", run: even, verdict: "VALID" },

  {
    name: "LOST: accepted, with neither effect nor dead letter",
    run: { ...even, effects: even.effects.slice(1) },
    verdict: "INVALID",
    counts: { LOST: 1 },
  },
  {
    name: "not lost: accepted and dead-lettered",
    run: { ...even, effects: even.effects.slice(1), deadLetters: ["a"] },
    verdict: "VALID",
  },
  { name: "not lost: invoked and never answered", run: plus("pub", { op: "invoke", id: "c" }), verdict: "VALID" },
  {
    name: "not lost: in doubt and without effect",
    run: plus("pub", { op: "invoke", id: "c" }, { op: "rejected", id: "c", definite: false }),
    verdict: "VALID",
  },
  {
    name: "lost, whatever the consumer's log believes",
    run: {
      ...plus("pub", ...accepted("c")),
      logs: [...plus("pub", ...accepted("c")).logs, { proc: "con2", epoch: 1, ends: true, ops: consumed("c") }],
    },
    verdict: "INVALID",
    counts: { LOST: 1 },
  },

  {
    name: "DUPLICATE: two effects in one row",
    run: {
      ...even,
      effects: [
        { id: "a", n: 2, commit: 1 },
        { id: "b", commit: 2 },
      ],
    },
    verdict: "INVALID",
    counts: { DUPLICATE: 1 },
  },
  {
    name: "DUPLICATE: two effects in two rows",
    run: { ...even, effects: [...even.effects, { id: "a", commit: 3 }] },
    verdict: "INVALID",
    counts: { DUPLICATE: 1 },
  },
  {
    name: "not doubled: delivered twice with one effect",
    run: plus("con", { op: "deliver", id: "a", redelivered: true }, { op: "dedup", id: "a" }),
    verdict: "VALID",
  },

  {
    name: "GHOST: an effect of what nobody invoked",
    run: { ...even, effects: [...even.effects, { id: "x", commit: 3 }] },
    verdict: "INVALID",
    counts: { GHOST: 1 },
  },
  {
    name: "GHOST: a dead letter of what nobody invoked",
    run: { ...even, deadLetters: ["x"] },
    verdict: "INVALID",
    counts: { GHOST: 1 },
  },
  {
    name: "no ghost: an effect of what was invoked and never answered",
    run: { ...plus("pub", { op: "invoke", id: "x" }), effects: [...even.effects, { id: "x", commit: 3 }] },
    verdict: "VALID",
  },

  {
    name: "FALSE-REJECT: rejected as definite, with effect",
    run: {
      ...plus("pub", { op: "invoke", id: "x" }, { op: "rejected", id: "x", definite: true }),
      effects: [...even.effects, { id: "x", commit: 3 }],
    },
    verdict: "INVALID",
    counts: { "FALSE-REJECT": 1 },
  },
  {
    name: "no false rejection: rejected as in doubt, with effect",
    run: {
      ...plus("pub", { op: "invoke", id: "x" }, { op: "rejected", id: "x", definite: false }),
      effects: [...even.effects, { id: "x", commit: 3 }],
    },
    verdict: "VALID",
  },
  {
    name: "no false rejection: rejected as definite, without effect",
    run: plus("pub", { op: "invoke", id: "x" }, { op: "rejected", id: "x", definite: true }),
    verdict: "VALID",
  },
  {
    name: "no false rejection: an earlier call for the id was cut off, the later one rejected",
    run: {
      ...plus("pub", { op: "invoke", id: "x" }, { op: "invoke", id: "x" }, { op: "rejected", id: "x", definite: true }),
      effects: [...even.effects, { id: "x", commit: 3 }],
    },
    verdict: "VALID",
  },

  {
    name: "ORDER: of one process and key, the later call's first effect came first",
    run: inOrder([3, 1, 2]),
    verdict: "INVALID",
    counts: { ORDER: 2 },
  },
  { name: "in order: commits rise as the calls do", run: inOrder([1, 5, 9]), verdict: "VALID" },
  {
    name: "in order: a second effect may come at any time (and is a DUPLICATE)",
    run: { ...inOrder([1, 2, 3]), effects: [...inOrder([1, 2, 3]).effects, { id: "k0", commit: 9 }] },
    verdict: "INVALID",
    counts: { ORDER: 0, DUPLICATE: 1 },
  },
  { name: "not judged for order: other keys", run: inOrder([3, 1, 2], { keys: ["x", "y", "z"] }), verdict: "VALID" },
  { name: "not judged for order: other processes", run: inOrder([3, 1, 2], { apart: true }), verdict: "VALID" },
  { name: "not judged for order: calls without a seq", run: inOrder([3, 1, 2], { seq: false }), verdict: "VALID" },
  {
    name: "not judged for order: a dead letter, which lets the next of its key pass",
    run: { ...inOrder([3, 1, 2]), deadLetters: ["k0"] },
    verdict: "VALID",
    counts: { ORDER: 0 },
  },
  {
    name: "not judged for order: an id that was published again, which has two places",
    run: inOrder([3, 1, 2], { again: "k0" }),
    verdict: "VALID",
  },
  {
    name: "ORDER: over the restarts of a process too",
    run: inOrder([3, 1, 2], { restarted: true }),
    verdict: "INVALID",
    counts: { ORDER: 2 },
  },
  {
    name: "CORRUPT: the effect has another body",
    run: { ...even, effects: [{ id: "a", commit: 1, bodyHash: "h-b" }, even.effects[1]!] },
    verdict: "INVALID",
    counts: { CORRUPT: 1 },
  },
  {
    name: "not corrupt: the effect store keeps no hash",
    run: { ...even, effects: [{ id: "a", commit: 1, bodyHash: null }, even.effects[1]!] },
    verdict: "VALID",
  },
  {
    name: "STUCK: something is left in a queue",
    run: { ...even, remaining: [{ where: "queue", name: "q", n: 3 }] },
    verdict: "INVALID",
    counts: { STUCK: 3 },
  },
  {
    name: "STUCK: something is left in an outbox",
    run: { ...even, remaining: [{ where: "outbox", name: "o", n: 1 }] },
    verdict: "INVALID",
    counts: { STUCK: 1 },
  },

  {
    name: "UNKNOWN: a gap in i",
    run: even,
    damage: edit("run.pub.1.jsonl", dropLine(1)),
    verdict: "UNKNOWN",
    doubt: /pub#1: line 2: i goes from 1 to 3/,
  },
  {
    name: "UNKNOWN: the first line is gone",
    run: even,
    damage: edit("run.con.1.jsonl", dropLine(0)),
    verdict: "UNKNOWN",
    doubt: /con#1: line 1: i goes from 0 to 2/,
  },
  {
    name: "UNKNOWN: a line twice",
    run: even,
    damage: edit("run.con.1.jsonl", (text) => `${text.slice(0, text.indexOf("\n") + 1)}${text}`),
    verdict: "UNKNOWN",
    doubt: /i goes from 1 to 1/,
  },
  {
    name: "UNKNOWN: no end, and no kill recorded",
    run: without(killedCon(false), "con"),
    verdict: "UNKNOWN",
    doubt: /con#1: has no end/,
  },
  { name: "no end, but the kill is recorded", run: without(killedCon(true), "con"), verdict: "VALID" },
  {
    name: "UNKNOWN: no end, and another incarnation's kill is recorded",
    run: {
      ...without(killedCon(true), "con"),
      logs: without(killedCon(true), "con").logs.map((one) => (one.proc === "con" ? { ...one, epoch: 2 } : one)),
    },
    verdict: "UNKNOWN",
    doubt: /con#2: has no end/,
  },
  {
    name: "a torn last line of a killed process",
    run: without(killedCon(true), "con"),
    damage: (folder) => appendFile(join(folder, "run.con.1.jsonl"), '{"v":1,"run":"ru'),
    verdict: "VALID",
  },
  {
    name: "UNKNOWN: a torn last line without a kill",
    run: even,
    damage: (folder) => appendFile(join(folder, "run.con.1.jsonl"), '{"v":1,"run":"ru'),
    verdict: "UNKNOWN",
    doubt: /torn/,
  },
  {
    name: "UNKNOWN: a torn line in the middle of a killed process's log",
    run: without(killedCon(true), "con"),
    damage: edit("run.con.1.jsonl", (text) => text.replace('"op":"effect"', '"op":"eff\n')),
    verdict: "UNKNOWN",
    doubt: /not JSON/,
  },
  {
    name: "UNKNOWN: lines behind the end",
    run: even,
    damage: edit("run.con.1.jsonl", (text) => text + text.slice(text.lastIndexOf("{")).replace('"i":7', '"i":8')),
    verdict: "UNKNOWN",
    doubt: /behind the end/,
  },
  {
    name: "UNKNOWN: another run's line",
    run: even,
    damage: edit("run.con.1.jsonl", (text) => text.replace('"run":"run"', '"run":"other"')),
    verdict: "UNKNOWN",
    doubt: /another run/,
  },
  {
    name: "UNKNOWN: two runs in one folder",
    run: even,
    damage: async (folder) => new LedgerWriter({ folder, run: "other", proc: "pub" }).close(),
    verdict: "UNKNOWN",
    doubt: /more than one run/,
  },
  {
    name: "UNKNOWN: a file of the first epoch is gone",
    run: { ...even, logs: [...even.logs, { proc: "con", epoch: 3, ends: true, ops: [] }] },
    verdict: "UNKNOWN",
    doubt: /con#2: has no file/,
  },
  {
    name: "UNKNOWN: a file of an expected incarnation is gone",
    run: even,
    expect: {
      incarnations: [
        { proc: "pub", epoch: 1 },
        { proc: "pub-2", epoch: 1 },
      ],
    },
    verdict: "UNKNOWN",
    doubt: /pub-2#1: has no file/,
  },
  {
    name: "UNKNOWN: a killed process left no file",
    run: killedCon(true),
    damage: (folder) => rm(join(folder, "run.con.1.jsonl")),
    verdict: "UNKNOWN",
    doubt: /con#1: has no file/,
  },
  {
    name: "UNKNOWN: accepted, never invoked",
    run: plus("pub", { op: "accepted", id: "z" }),
    verdict: "UNKNOWN",
    doubt: /never invoked/,
  },
  {
    name: "UNKNOWN: an operation that the format does not have",
    run: even,
    damage: edit("run.con.1.jsonl", (text) => text.replace('"op":"acked"', '"op":"asked"')),
    verdict: "UNKNOWN",
    doubt: /format does not have/,
  },
  { name: "UNKNOWN: no heal", run: log("director", (ops) => ops.slice(0, -1)), verdict: "UNKNOWN", doubt: /no heal/ },
  {
    name: "UNKNOWN: a fault after the heal",
    run: plus("director", { op: "fault-begin", kind: "cut" }),
    verdict: "UNKNOWN",
    doubt: /after the heal/,
  },
  {
    name: "UNKNOWN: nothing accepted",
    run: { ...log("pub", () => []), effects: [] },
    verdict: "UNKNOWN",
    doubt: /nothing was accepted/,
  },
  {
    name: "UNKNOWN: fewer faults than asked for",
    run: even,
    expect: { faults: 2 },
    verdict: "UNKNOWN",
    doubt: /1 faults .* 2 were asked for/,
  },
  { name: "as many faults as asked for", run: even, expect: { faults: 1 }, verdict: "VALID" },
  {
    name: "UNKNOWN: a fault that met an idle moment does not count",
    run: log("director", (ops) => ops.map((op) => (op.op === "fault-begin" ? { ...op, inflight: 0 } : op))),
    expect: { faults: 1 },
    verdict: "UNKNOWN",
    doubt: /0 faults met/,
  },
  {
    name: "UNKNOWN: a required sometimes was never seen",
    run: even,
    expect: { sometimes: ["resend"] },
    verdict: "UNKNOWN",
    doubt: /never seen: resend/,
  },
  {
    name: "every required sometimes was seen",
    run: plus(
      "con",
      { op: "surfaced", kind: "blocked" },
      { op: "deliver", id: "a" },
      { op: "dedup", id: "a" },
      { op: "returned", id: "b" },
      { op: "resent", id: "b" },
    ),
    expect: { sometimes: ["blocked", "duplicate-delivery", "dedupe-hit", "return", "resend", "fault:cut"] },
    verdict: "VALID",
  },

  // What the missing evidence could not have feigned is proven all the same.
  {
    name: "a doubled effect beside a gap",
    run: { ...even, effects: [...even.effects, { id: "a", commit: 3 }] },
    damage: edit("run.con.1.jsonl", dropLine(1)),
    verdict: "INVALID",
    counts: { DUPLICATE: 1 },
  },
  {
    name: "a lost message beside a missing end",
    run: { ...without(even, "con"), effects: even.effects.slice(1) },
    verdict: "INVALID",
    counts: { LOST: 1 },
  },
  {
    name: "a lost message beside too few faults",
    run: { ...even, effects: even.effects.slice(1) },
    expect: { faults: 9 },
    verdict: "INVALID",
    counts: { LOST: 1 },
  },
  {
    name: "UNKNOWN: what looks like a ghost beside a gap",
    run: even,
    damage: edit("run.pub.1.jsonl", (text) => text.split("\n").slice(3).join("\n")),
    verdict: "UNKNOWN",
    counts: { GHOST: 1 },
  },
  {
    name: "UNKNOWN: what looks lost before a heal",
    run: { ...log("director", () => []), effects: even.effects.slice(1) },
    verdict: "UNKNOWN",
    counts: { LOST: 1 },
  },
];

describe("the verdict", () => {
  test.each(cases)("$name → $verdict", async ({ run, expect: expectation, damage, verdict, counts = {}, doubt }) => {
    const report = await judged(run, expectation, damage);
    expect(report.verdict, formatReport(report)).toBe(verdict);
    expect(report.exitCode).toBe({ VALID: 0, INVALID: 1, UNKNOWN: 2 }[verdict]);
    expect(report.counts).toEqual({
      LOST: 0,
      DUPLICATE: 0,
      GHOST: 0,
      "FALSE-REJECT": 0,
      CORRUPT: 0,
      ORDER: 0,
      STUCK: 0,
      ...counts,
    });
    if (doubt !== undefined) expect(report.doubts.map(({ reason }) => reason).join("\n")).toMatch(doubt);
    if (verdict === "VALID") expect(report.doubts).toEqual([]);
  });

  test("bytes that are not UTF-8 make a line unreadable, never two ids the same one", async () => {
    const report = await judged(even, {}, async (folder) => {
      const path = join(folder, "run.con.1.jsonl");
      const bytes = await readFile(path);
      bytes[bytes.indexOf('"id":"a"') + 6] = 0xff;
      await writeFile(path, bytes);
    });
    expect(report.verdict).toBe("UNKNOWN");
    expect(report.doubts[0]?.reason).toBe("con#1: line 1: not JSON");
  });

  test("an id that was published with two bodies is told as such, not as corrupt", async () => {
    const report = await judged(
      plus(
        "pub",
        { op: "invoke", id: "a", h: "h-other" },
        { op: "rejected", id: "a", definite: true, err: "conflict" },
      ),
    );
    expect(report.verdict, formatReport(report)).toBe("VALID");
    expect(report.totals.conflictingBodies).toBe(1);
    const second = {
      ...plus("pub", { op: "invoke", id: "a", h: "h-other" }),
      effects: [{ id: "a", commit: 1, bodyHash: "h-other" }, even.effects[1]!],
    };
    expect((await judged(second)).counts.CORRUPT).toBe(0);
  });

  test("a lost message is laid at the door of whoever had it last", async () => {
    const report = await judged({
      ...even,
      logs: [
        {
          proc: "pub",
          epoch: 1,
          ends: true,
          ops: [
            ...accepted("even"),
            { op: "invoke", id: "outbox" },
            { op: "accepted", id: "outbox", state: "stored" },
            { op: "invoke", id: "left" },
            { op: "accepted", id: "left", state: "stored" },
            { op: "invoke", id: "relayed" },
            { op: "accepted", id: "relayed", state: "stored" },
            { op: "confirmed", id: "relayed" },
            ...accepted("broker"),
            ...accepted("consumer"),
          ],
        },
        { proc: "con", epoch: 1, ends: true, ops: [...consumed("even"), { op: "deliver", id: "consumer" }] },
        even.logs[2]!,
      ],
      effects: [{ id: "even", commit: 1 }],
      remaining: [{ where: "outbox", name: "o", n: 1, ids: ["left"] }],
    });
    expect(report.lostBy).toEqual({ outbox: 2, broker: 2, consumer: 1 });
    const lost = report.offenders.filter(({ violation }) => violation === "LOST");
    expect(Object.fromEntries(lost.map(({ id, blame }) => [id, blame]))).toEqual({
      outbox: "outbox",
      left: "outbox",
      relayed: "broker",
      broker: "broker",
      consumer: "consumer",
    });
    expect(report.totals.spilled).toBe(3);
  });

  test("the same id published again by a restarted process is one message", async () => {
    const report = await judged({
      ...even,
      logs: [
        { proc: "pub", epoch: 1, ends: false, ops: [{ op: "invoke", id: "a", h: "h-a" }] },
        { proc: "pub", epoch: 2, ends: true, ops: [...accepted("a"), ...accepted("b")] },
        even.logs[1]!,
        {
          ...even.logs[2]!,
          ops: [
            { op: "fault-begin", kind: "kill", victim: { proc: "pub", epoch: 1 }, inflight: 1 },
            ...even.logs[2]!.ops,
          ],
        },
      ],
    });
    expect(report.verdict, formatReport(report)).toBe("VALID");
    expect(report.totals).toMatchObject({ invoked: 2, accepted: 2, unknown: 0, kills: 1 });
  });

  test("a list of offenders is bounded, a count is not", async () => {
    const report = await inFolder(async (folder) => {
      writeLogs(folder, [
        { proc: "pub", epoch: 1, ends: true, ops: Array.from({ length: 50 }, (_, i) => accepted(`m${i}`)).flat() },
        even.logs[2]!,
      ]);
      return judge({ folder, final: { effects: [], deadLetters: [], remaining: [] }, offenders: 7 });
    });
    expect(report.counts.LOST).toBe(50);
    expect(report.offenders).toHaveLength(7);
  });

  test("the report tells latencies, deliveries and the timeline", async () => {
    const report = await judged(plus("con", { op: "deliver", id: "a" }, { op: "resent", id: "a" }));
    expect(report.totals).toMatchObject({ duplicateDeliveries: 1, resends: 1, faults: 1, files: 3 });
    expect(report.latency.publish).toMatchObject({ n: 2, max: 0.02 });
    expect(report.latency.effect?.n).toBe(2);
    expect(report.timeline.rows).toEqual([
      { at: 0, invoked: 2, accepted: 2, failed: 0, delivered: 3, effects: 2, inFlight: 0 },
    ]);
    expect(report.timeline.faults).toMatchObject([{ kind: "cut", inflight: 2, victim: null }]);
    expect(formatReport(report)).toMatch(/verdict: VALID$/);
  });
});
