import { expect, test } from "vitest";
import { type Demands, HALF_POINTS, judge, type Ledger } from "../judge.ts";
import type { Outcome } from "../works.ts";

const DEMANDS: Demands = { killed: 1, dropped: 1 };

function ledger(change: Partial<Ledger> = {}): Ledger {
  return {
    ids: ["a", "b"],
    outcomes: new Map<string, Outcome>([
      ["a", "commit"],
      ["b", "rollback"],
    ]),
    effects: new Map([["a", 1]]),
    killed: { work: new Set(["a"]), commit: new Set(["a"]), check: new Set(["b"]) },
    points: new Set(HALF_POINTS),
    dropped: 1,
    left: 0,
    ...change,
  };
}

test("each committed one has one effect, no rolled-back one any", () => {
  expect(judge(ledger(), DEMANDS)).toEqual({ verdict: "VALID", reasons: [], committed: 1, rolledBack: 1 });
});

test.each([
  ["a committed one without effect", { effects: new Map() }, /^LOST a/],
  ["one with two", { effects: new Map([["a", 2]]) }, /^DOUBLED a: 2/],
  [
    "a rolled-back one with one",
    {
      effects: new Map([
        ["a", 1],
        ["b", 1],
      ]),
    },
    /^UNDEAD b/,
  ],
  [
    "an effect of nobody",
    {
      effects: new Map([
        ["a", 1],
        ["c", 1],
      ]),
    },
    /^STRANGE c/,
  ],
] as const)("%s is INVALID", (_, change, reason) => {
  const judged = judge(ledger(change), DEMANDS);
  expect([judged.verdict, judged.reasons]).toEqual(["INVALID", [expect.stringMatching(reason)]]);
});

test.each([
  [
    "a window that was hit less often",
    { killed: { work: new Set(["a"]), commit: new Set(), check: new Set(["b"]) } },
    /^window commit: 0/,
  ],
  ["a failpoint that nobody came to", { points: new Set(["half.offered", "half.asked"]) }, /half\.told/],
  ["a broker that gave up none", { dropped: 0 }, /gave up 0/],
  ["what is still on its way", { left: 1 }, /still on their way/],
  ["one that was never worked on", { outcomes: new Map([["a", "commit"]]) }, /^b was never/],
] as const)("%s proves nothing", (_, change, reason) => {
  const judged = judge(ledger(change as Partial<Ledger>), DEMANDS);
  expect([judged.verdict, judged.reasons]).toEqual(["UNKNOWN", [expect.stringMatching(reason)]]);
});
