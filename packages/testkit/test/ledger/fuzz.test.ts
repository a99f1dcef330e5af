import { readdir, readFile, writeFile, unlink } from "node:fs/promises";
import { join } from "node:path";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { formatReport, judge } from "@tallymq/testkit/ledger";
import type { EffectRow, LedgerOp, LedgerReport, Violation } from "@tallymq/testkit/ledger";
import { inFolder, judged, writeLogs } from "./runs.ts";
import type { ProcessLog, Run } from "./runs.ts";

// ── a generator of faithful runs ──────────────────────────────────────────────
type Fate = "confirmed" | "stored" | "refused" | "doubt" | "cut off";
const message = fc.record({
  fate: fc.constantFrom<Fate>("confirmed", "confirmed", "stored", "refused", "doubt", "cut off"),
  again: fc.boolean(), // published once more by the next incarnation
  tookEffect: fc.boolean(), // where both are legal
  dead: fc.integer({ min: 0, max: 9 }).map((n) => n === 0),
  deliveries: fc.integer({ min: 1, max: 3 }),
  hashed: fc.boolean(),
});
type Message = typeof message extends fc.Arbitrary<infer T> ? T : never;

/** A run in which everything comes even; message 0 is accepted with effect, message 1 rejected, so that there is something to break. */
function faithful(messages: readonly Message[]): Run {
  const pubs: [LedgerOp[], LedgerOp[]] = [[], []];
  const con: LedgerOp[] = [];
  const effects: EffectRow[] = [];
  const deadLetters: string[] = [];
  messages.forEach(({ fate, again, tookEffect, dead, deliveries, hashed }, n) => {
    const id = `m${n}`;
    const h = hashed ? `hash-${n}` : null;
    const call = (log: LedgerOp[], ends: Fate): void => {
      log.push({ op: "invoke", id, h });
      if (ends === "confirmed") log.push({ op: "confirmed", id }, { op: "accepted", id, state: "confirmed" });
      if (ends === "stored") log.push({ op: "accepted", id, state: "stored" }, { op: "confirmed", id });
      if (ends === "refused") log.push({ op: "rejected", id, definite: true, err: "unroutable" });
      if (ends === "doubt") log.push({ op: "rejected", id, definite: false, err: "in-doubt" });
    };
    call(pubs[0], fate);
    if (again) call(pubs[1], fate === "refused" ? "refused" : "confirmed");
    const promised = fate === "confirmed" || fate === "stored" || (again && fate !== "refused");
    if (fate === "refused" || (!promised && !tookEffect)) return;
    for (let d = 0; d < deliveries; d++) con.push({ op: "deliver", id, redelivered: d > 0 });
    if (dead) deadLetters.push(id);
    else {
      con.push({ op: "effect", id });
      effects.push({ id, n: 1, commit: effects.length + 1, bodyHash: h });
    }
  });
  const logs: ProcessLog[] = [
    { proc: "pub", epoch: 1, ends: false, ops: pubs[0] },
    { proc: "pub", epoch: 2, ends: true, ops: pubs[1] },
    { proc: "con", epoch: 1, ends: true, ops: con },
    {
      proc: "director",
      epoch: 1,
      ends: true,
      ops: [{ op: "fault-begin", kind: "kill", victim: { proc: "pub", epoch: 1 } }, { op: "heal" }],
    },
  ];
  return { logs, effects, deadLetters, remaining: [{ where: "queue", name: "q", n: 0 }] };
}
const solid: Message = { fate: "confirmed", again: false, tookEffect: true, dead: false, deliveries: 1, hashed: true };
const run = fc
  .array(message, { maxLength: 30 })
  .map((more) => faithful([solid, { ...solid, fate: "refused" }, ...more]));
const nat = fc.nat(1_000_000);
const runs = { numRuns: 60 };

const onLog = (r: Run, proc: string, epoch: number, change: (log: ProcessLog) => Partial<ProcessLog>): Run => ({
  ...r,
  logs: r.logs.map((log) => (log.proc === proc && log.epoch === epoch ? { ...log, ...change(log) } : log)),
});

// ── corruptions, each of which must be found ─────────────────────────────────
const violating: readonly { name: string; plant: (r: Run, pick: number) => Run; violation: Violation }[] = [
  {
    name: "an effect of an accepted message is dropped",
    violation: "LOST",
    plant: (r, pick) => {
      const promised = new Set(r.logs.flatMap(({ ops }) => ops.flatMap((op) => (op.op === "accepted" ? [op.id] : []))));
      const victims = r.effects.filter(({ id }) => promised.has(id));
      return { ...r, effects: r.effects.filter((row) => row !== victims[pick % victims.length]) };
    },
  },
  {
    name: "an effect is doubled",
    violation: "DUPLICATE",
    plant: (r, pick) => ({ ...r, effects: [...r.effects, r.effects[pick % r.effects.length]!] }),
  },
  {
    name: "an effect appears",
    violation: "GHOST",
    plant: (r, pick) => ({ ...r, effects: [...r.effects, { id: `ghost${pick}`, commit: 99 }] }),
  },
  {
    name: "a dead letter appears",
    violation: "GHOST",
    plant: (r, pick) => ({ ...r, deadLetters: [...r.deadLetters, `ghost${pick}`] }),
  },
  {
    name: "a rejected message takes effect",
    violation: "FALSE-REJECT",
    plant: (r, pick) => {
      const ids = [
        ...new Set(
          r.logs.flatMap(({ ops }) => ops.flatMap((op) => (op.op === "rejected" && op.definite ? [op.id] : []))),
        ),
      ];
      return { ...r, effects: [...r.effects, { id: ids[pick % ids.length]!, commit: 99 }] };
    },
  },
  {
    name: "a body changes",
    violation: "CORRUPT",
    plant: (r, pick) => {
      const hashed = r.effects.filter(({ bodyHash }) => bodyHash != null);
      const victim = hashed[pick % hashed.length];
      return { ...r, effects: r.effects.map((row) => (row === victim ? { ...row, bodyHash: "other" } : row)) };
    },
  },
  {
    name: "a queue keeps something",
    violation: "STUCK",
    plant: (r) => ({ ...r, remaining: [{ where: "queue", name: "q", n: 1 }] }),
  },
];
const dubious: readonly { name: string; plant: (r: Run, pick: number) => Run }[] = [
  { name: "a process has no end", plant: (r) => onLog(r, "con", 1, () => ({ ends: false })) },
  { name: "the kill is not recorded", plant: (r) => onLog(r, "director", 1, (log) => ({ ops: log.ops.slice(1) })) },
  { name: "there is no heal", plant: (r) => onLog(r, "director", 1, (log) => ({ ops: log.ops.slice(0, 1) })) },
  { name: "the first incarnation's file is gone", plant: (r) => ({ ...r, logs: r.logs.slice(1) }) },
];

describe("any faithful run", () => {
  test("is VALID", () =>
    fc.assert(
      fc.asyncProperty(run, async (r) => {
        const report = await judged(r);
        expect(report.verdict, formatReport(report)).toBe("VALID");
      }),
      runs,
    ));

  test.each(violating)("with one corruption is INVALID: $name", ({ plant, violation }) =>
    fc.assert(
      fc.asyncProperty(run, nat, async (r, pick) => {
        const report = await judged(plant(r, pick));
        expect(report.verdict, formatReport(report)).toBe("INVALID");
        expect(report.counts[violation]).toBe(1);
        expect(report.offenders.filter((one) => one.violation !== violation)).toEqual([]);
      }),
      runs,
    ),
  );

  test.each(dubious)("with one piece of evidence missing is UNKNOWN: $name", ({ plant }) =>
    fc.assert(
      fc.asyncProperty(run, nat, async (r, pick) => {
        expect((await judged(plant(r, pick))).verdict).toBe("UNKNOWN");
      }),
      runs,
    ),
  );

  test("with any one line dropped is UNKNOWN, except the last of a killed process", () =>
    fc.assert(
      fc.asyncProperty(run, nat, nat, async (r, whichFile, whichLine) => {
        const report = await judged(r, {}, async (folder) => {
          const files = (await readdir(folder)).sort();
          const path = join(folder, files[whichFile % files.length]!);
          const lines = (await readFile(path, "utf8")).split("\n").slice(0, -1);
          const last = path.endsWith("pub.1.jsonl") ? lines.length - 1 : lines.length;
          lines.splice(whichLine % last, 1);
          await writeFile(path, lines.map((line) => `${line}\n`).join(""));
        });
        expect(report.verdict, formatReport(report)).toBe("UNKNOWN");
      }),
      runs,
    ));
});

// ── whatever a file holds ─────────────────────────────────────────────────────
const mess = fc.oneof(
  fc.uint8Array({ minLength: 1, maxLength: 400 }).map((bytes) => Buffer.concat([bytes, Buffer.from("\n")])),
  fc
    .array(fc.json(), { minLength: 1, maxLength: 5 })
    .map((lines) => Buffer.from(lines.map((line) => `${line}\n`).join(""))),
  fc
    .record({
      op: fc.constantFrom("invoke", "accepted", "final-effect", "fault-begin", "__proto__"),
      id: fc.anything(),
      i: fc.anything(),
      mono: fc.anything(),
      victim: fc.anything(),
    })
    .map((line) =>
      Buffer.from(
        `${JSON.stringify({ v: 1, run: "run", proc: "con", epoch: 1, ...line }, (_, value) => (typeof value === "bigint" ? String(value) : value))}\n`,
      ),
    ),
  fc
    .constantFrom(
      "\n",
      "{}\n",
      "null\n",
      "[]\n",
      "1e999\n",
      '{"v":2}\n',
      "[".repeat(100_000) + "\n",
      "x".repeat(3_000_000) + "\n",
    )
    .map((text) => Buffer.from(text)),
);

describe("whatever a file holds", () => {
  const reasoned = (report: LedgerReport): void => {
    expect(report.verdict, formatReport(report)).toBe("UNKNOWN");
    expect(report.doubts[0]!.reason).not.toBe("");
  };

  test("a line of rubbish anywhere in a run makes it UNKNOWN, with a reason, and never a crash", () =>
    fc.assert(
      fc.asyncProperty(run, nat, mess, async (r, at, rubbish) => {
        reasoned(
          await judged(r, {}, async (folder) => {
            const path = join(folder, "run.con.1.jsonl");
            const bytes = await readFile(path);
            const starts = [0, ...[...bytes.keys()].filter((n) => bytes[n] === 10).map((n) => n + 1)];
            const cut = starts[at % starts.length]!;
            await writeFile(path, Buffer.concat([bytes.subarray(0, cut), rubbish, bytes.subarray(cut)]));
          }),
        );
      }),
      { numRuns: 150 },
    ));

  test("one changed bit never makes a broken run VALID, and never a crash", () =>
    fc.assert(
      fc.asyncProperty(run, nat, nat, async (r, at, bit) => {
        const lossy = { ...r, effects: r.effects.slice(1) };
        const report = await judged(lossy, {}, async (folder) => {
          const path = join(folder, "run.con.1.jsonl");
          const bytes = await readFile(path);
          bytes[at % bytes.length]! ^= 1 << (bit % 8);
          await writeFile(path, bytes);
        });
        expect(report.verdict).not.toBe("VALID");
      }),
      runs,
    ));

  test("a file of rubbish alone is UNKNOWN", () =>
    fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 3000 }), async (bytes) => {
        await inFolder(async (folder) => {
          await writeFile(join(folder, "run.pub.1.jsonl"), bytes);
          reasoned(await judge({ folder, final: { effects: [], deadLetters: [], remaining: [] } }));
        });
      }),
      runs,
    ));

  test("an empty folder and a stranger's file are UNKNOWN", async () => {
    await inFolder(async (folder) =>
      reasoned(await judge({ folder, final: { effects: [], deadLetters: [], remaining: [] } })),
    );
    reasoned(await judged(faithful([solid]), {}, (folder) => writeFile(join(folder, "notes.jsonl"), "")));
  });

  test("a cut at any byte of a killed process's file leaves its whole lines in force", async () => {
    const r = faithful([solid, solid]);
    await inFolder(async (folder) => {
      writeLogs(folder, r.logs);
      const path = join(folder, "run.pub.1.jsonl");
      const whole = await readFile(path);
      for (let cut = 0; cut < whole.length; cut++) {
        await unlink(path);
        await writeFile(path, whole.subarray(0, cut));
        const report = await judge({ folder, final: { ...r, effects: [] } });
        const answered = whole
          .subarray(0, cut + 1)
          .toString()
          .split("\n")
          .slice(0, -1)
          .filter((line) => line.includes('"accepted"'));
        // Without effects, each message that was accepted for certain must be missed.
        expect(report.counts.LOST).toBe(answered.length);
      }
    });
  });
});
