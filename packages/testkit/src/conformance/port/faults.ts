import assert from "node:assert/strict";
import type { Outgoing, TopicPlan } from "@tallymq/core/spi";
import type { ConformanceCase } from "../case.ts";
import { ids } from "../messages.ts";
import type { Copies } from "../sending.ts";
import { portCase, type Stage } from "../stage.ts";

export const faultCases: readonly ConformanceCase[] = [
  portCase(
    "a lost sender reports lost once, then each open copy as doubt or unsent, in the same turn",
    ["cut", "pause", "ends"],
    async (s) => {
      const topic = await s.topic("lost");
      const sender = await s.main.sender();
      await sender.accepted(s.main.messages.many(topic, 1));
      await s.rig.pause!.begin();
      const messages = s.main.messages.many(topic, 20);
      let copies: Copies;
      try {
        copies = sender.post(messages);
        await s.quiet();
        assert.equal(
          copies.verdicts.filter((v) => v !== undefined).length,
          0,
          "expected no verdict from a broker that is paused",
        );
        await s.rig.cut!();
        await copies.all();
      } finally {
        await s.rig.pause!.end();
      }
      assert.deepEqual(
        sender.journal.slice(0, 2),
        ["accepted", "lost"],
        "expected lost before the verdicts of open copies",
      );
      for (const { kind } of await copies.all())
        assert.ok(kind === "doubt" || kind === "unsent", `expected doubt or unsent; got ${kind}`);
      assert.equal(sender.lateVerdicts, 0, "expected the verdicts in the turn of lost");
      await s.quiet();
      assert.equal(sender.lost.length, 1);
      // The same messages through a successor: in doubt is not lost, and not refused.
      await (await s.main.sender()).accepted(messages);
      const receiver = await s.main.receiver(topic, { auto: true });
      await receiver.has(ids(messages));
    },
  ),

  portCase("what a lost sender is given comes back unsent", ["cut", "ends"], async (s) => {
    const topic = await s.topic("after-lost");
    const sender = await s.main.sender();
    await s.rig.cut!();
    await s.watch.until(
      "lost",
      () => sender.lost.length === 1,
      () => sender.journal,
    );
    const copies = sender.post(s.main.messages.many(topic, 3));
    await copies.all();
    assert.equal(copies.ofKind("unsent").length, 3);
  }),

  portCase("through a cut under load nothing that was accepted is missing", ["cut"], async (s) => {
    const topic = await s.topic("cut");
    const { sent, rest } = await underLoad(s, topic, async () => await s.rig.cut!());
    await (await s.main.sender()).accepted(rest);
    const receiver = await s.main.receiver(topic, { auto: true });
    await receiver.has(ids(sent));
  }),

  portCase("what was accepted before a kill -9 is there after the restart", ["kill"], async (s) => {
    const topic = await s.topic("killed");
    const { sent, rest } = await underLoad(s, topic, async () => await s.rig.kill!.begin());
    await s.rig.kill!.end();
    const peer = s.peer();
    await peer.declare(topic);
    const accepted = new Set(ids(sent));
    for (const id of ids(rest)) accepted.delete(id);
    assert.notEqual(accepted.size, 0, "expected something to be accepted before the kill");
    const receiver = await peer.receiver(topic, { auto: true });
    await receiver.has([...accepted]);
    await (await peer.sender()).accepted(rest);
    await receiver.has(ids(rest));
  }),

  portCase(
    "a lost receiver says so once; what it had not settled comes again, and no more than that",
    ["cut", "ends"],
    async (s) => {
      const topic = await s.topic("receiver-cut");
      const messages = s.main.messages.many(topic, 14);
      await (await s.main.sender()).accepted(messages);
      const receiver = await s.main.receiver(topic, { credit: 10 });
      receiver.ack(...(await receiver.first(10)).slice(0, 4));
      // The next four come for the credit of the first, and none of those counts any more: the broker has taken their acks,
      // and a cut cannot lose them.
      const got = await receiver.first(14);
      await s.main.backlogIs(10, topic);
      await s.rig.cut!();
      await s.watch.until(
        "lost",
        () => receiver.lost.length > 0,
        () => "none",
      );
      // Too late for these: a no-op, not an error.
      receiver.ack(...got.slice(4, 6));
      const second = await s.main.receiver(topic, { auto: true });
      const open = got.slice(4).map((d) => d.message.id!);
      await second.has(open);
      await s.quiet();
      assert.deepEqual([...second.ids].sort(), open.sort(), "expected what was not settled, once each");
      assert.equal(receiver.lost.length, 1);
    },
  ),

  portCase("a blocked sender says so, and its copies are accepted once it is unblocked", ["block"], async (s) => {
    const topic = await s.topic("blocked");
    const sender = await s.main.sender();
    await sender.accepted(s.main.messages.many(topic, 1));
    await s.rig.block!.begin();
    let copies: Copies;
    try {
      // Some brokers say it only to those who send.
      copies = sender.post(s.main.messages.many(topic, 5));
      await s.watch.until(
        "blocked",
        () => sender.journal.includes("blocked"),
        () => sender.journal,
      );
      await s.quiet();
      assert.deepEqual(copies.ofKind("accepted"), [], "expected no copy to be accepted by a broker that reads nothing");
    } finally {
      await s.rig.block!.end();
    }
    await s.watch.until(
      "unblocked",
      () => sender.journal.includes("unblocked"),
      () => sender.journal,
    );
    await copies.all();
    assert.deepEqual(copies.ofKind("refused"), []);
    await sender.accepted([...copies.ofKind("unsent"), ...copies.ofKind("later"), ...s.main.messages.many(topic, 1)]);
    assert.deepEqual(sender.lost, [], "expected the session to live on");
  }),
];

/** Batches that are sent after a fault that the session outlives. */
const AFTER_FAULT = 50;

/** Sends in small batches, ten of them open at most, until the fault has ended the session, or for a while after it. */
async function underLoad(s: Stage, topic: TopicPlan, fault: () => Promise<void>): Promise<Load> {
  const sender = await s.main.sender();
  const batches: Copies[] = [];
  const end = performance.now() + s.rig.limitMs;
  let struck: Promise<void> | null = null;
  let after = 0;
  while (!sender.over && after < AFTER_FAULT) {
    assert.ok(performance.now() < end, "expected the fault to end the session");
    batches.push(sender.post(s.main.messages.many(topic, 20)));
    if (batches.length === 20) struck = fault();
    else if (struck !== null && !s.rig.endsWithConnection) after++;
    await batches.at(-10)?.all();
  }
  await struck;
  for (const batch of batches) await batch.all();
  const rest = batches.flatMap((batch) =>
    batch.messages.filter((_, index) => batch.verdicts[index]?.kind !== "accepted"),
  );
  return { sent: batches.flatMap((batch) => batch.messages), rest };
}

interface Load {
  readonly sent: readonly Outgoing[];
  /** Of those, what was not accepted. */
  readonly rest: readonly Outgoing[];
}
