import assert from "node:assert/strict";
import type { TopicPlan } from "@tallymq/core/spi";
import type { ConformanceCase } from "../case.ts";
import { portCase, type Stage } from "../stage.ts";
import { eventually, within } from "../wait.ts";

/** A member of a process of its own, which consumes, and whom it has seen. */
async function member(s: Stage, topic: TopicPlan, group: string, card: string) {
  const seen = new Set<string>();
  const peer = s.peer();
  const { members } = peer.transport;
  assert.ok(members !== null);
  const signal = AbortSignal.timeout(s.rig.limitMs);
  const joining = members.join(topic.name, group, card, (other) => void seen.add(other), signal);
  const seat = await within(s.rig.limitMs, "a seat to be taken", joining);
  const receiver = await peer.receiver(topic, { group });
  const leave = async (): Promise<void> => {
    await seat[Symbol.asyncDispose]();
    if (!receiver.disposed) await receiver.dispose();
  };
  const sees = async (...expected: readonly string[]): Promise<void> => {
    const text = (): Promise<string> => Promise.resolve([...seen].sort().join());
    await eventually(s.rig.limitMs, `${card} to see ${expected.join()}`, text, (found) => found === expected.join());
  };
  return { leave, seen, sees };
}

export const memberCases: readonly ConformanceCase[] = [
  portCase(
    "members of a group see each other's cards, whoever came first; nobody else does",
    ["members"],
    async (s) => {
      const plan = await s.topic("members", { groups: ["g", "other"] });
      const elsewhere = await s.topic("members-elsewhere");
      const a = await member(s, plan, "g", "a");
      const strangers = [await member(s, plan, "other", "x"), await member(s, elsewhere, "g", "y")];
      const b = await member(s, plan, "g", "b");
      const c = await member(s, plan, "g", "c");
      await a.sees("b", "c");
      await b.sees("a", "c");
      await c.sees("a", "b");
      await s.quiet();
      for (const stranger of strangers) assert.deepEqual([...stranger.seen], []);
      assert.deepEqual([...a.seen].sort(), ["b", "c"], "expected nobody to see himself");
    },
  ),

  portCase("a member that has left is not seen, and does not see", ["members"], async (s) => {
    const plan = await s.topic("members-left");
    const a = await member(s, plan, "g", "a");
    const b = await member(s, plan, "g", "b");
    await a.sees("b");
    // The answer to its hello is on its way still, and would be lost with its seat.
    await b.sees("a");
    await b.leave();
    await b.leave();
    const c = await member(s, plan, "g", "c");
    await c.sees("a");
    await s.quiet();
    assert.deepEqual([[...c.seen], [...b.seen]], [["a"], ["a"]]);
    await a.leave();
    await c.leave();
    const d = await member(s, plan, "g", "d");
    await s.quiet();
    assert.deepEqual([...d.seen], []);
  }),
];
