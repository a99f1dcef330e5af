import assert from "node:assert/strict";
import type { ConformanceCase } from "../case.ts";
import { portCase, type Stage } from "../stage.ts";
import { eventually, within } from "../wait.ts";

/** A member of a process of its own, and whom it has seen. */
async function member(s: Stage, topic: string, group: string, card: string) {
  const seen = new Set<string>();
  const { members } = s.peer().transport;
  assert.ok(members !== null);
  const joining = members.join(topic, group, card, (other) => void seen.add(other), AbortSignal.timeout(s.rig.limitMs));
  const seat = await within(s.rig.limitMs, "a seat to be taken", joining);
  const sees = async (...expected: readonly string[]): Promise<void> => {
    const text = (): Promise<string> => Promise.resolve([...seen].sort().join());
    await eventually(s.rig.limitMs, `${card} to see ${expected.join()}`, text, (found) => found === expected.join());
  };
  return { seat, seen, sees };
}

export const memberCases: readonly ConformanceCase[] = [
  portCase(
    "members of a group see each other's cards, whoever came first; nobody else does",
    ["members"],
    async (s) => {
      const { name } = await s.topic("members", { groups: ["g", "other"] });
      const { name: elsewhere } = await s.topic("members-elsewhere");
      const a = await member(s, name, "g", "a");
      const strangers = [await member(s, name, "other", "x"), await member(s, elsewhere, "g", "y")];
      const b = await member(s, name, "g", "b");
      const c = await member(s, name, "g", "c");
      await a.sees("b", "c");
      await b.sees("a", "c");
      await c.sees("a", "b");
      await s.quiet();
      for (const stranger of strangers) assert.deepEqual([...stranger.seen], []);
      assert.deepEqual([...a.seen].sort(), ["b", "c"], "expected nobody to see himself");
    },
  ),

  portCase("a member that has left is not seen, and does not see", ["members"], async (s) => {
    const { name } = await s.topic("members-left");
    const a = await member(s, name, "g", "a");
    const b = await member(s, name, "g", "b");
    await a.sees("b");
    // The answer to its hello is on its way still, and would be lost with its seat.
    await b.sees("a");
    await b.seat[Symbol.asyncDispose]();
    await b.seat[Symbol.asyncDispose]();
    const c = await member(s, name, "g", "c");
    await c.sees("a");
    await s.quiet();
    assert.deepEqual([[...c.seen], [...b.seen]], [["a"], ["a"]]);
    await a.seat[Symbol.asyncDispose]();
    await c.seat[Symbol.asyncDispose]();
    const d = await member(s, name, "g", "d");
    await s.quiet();
    assert.deepEqual([...d.seen], []);
  }),
];
