import assert from "node:assert/strict";
import { TallyError } from "@tallymq/core/spi";
import type { ConformanceCase } from "../case.ts";
import { ids } from "../messages.ts";
import { tally } from "../sending.ts";
import { portCase } from "../stage.ts";
import { within } from "../wait.ts";

export const sessionCases: readonly ConformanceCase[] = [
  portCase("a sender that is disposed of reports its open copies, and no loss", [], async (s) => {
    const topic = await s.topic("disposed");
    const sender = await s.main.sender();
    const copies = sender.post(s.main.messages.many(topic, 200));
    await within(s.rig.limitMs, "dispose to end", sender.dispose());
    await s.quiet();
    copies.check();
    for (const verdict of copies.verdicts)
      assert.ok(
        ["accepted", "doubt", "unsent"].includes(verdict!.kind),
        `expected accepted, doubt or unsent; got ${verdict!.kind}`,
      );
    assert.deepEqual(sender.lost, [], "expected no lost");
    // What ended as accepted is there, and what ended as unsent is not.
    const receiver = await s.main.receiver(topic, { auto: true });
    await receiver.has(ids(copies.ofKind("accepted")));
    await s.quiet();
    const unsent = new Set(ids(copies.ofKind("unsent")));
    assert.deepEqual(
      receiver.ids.filter((id) => unsent.has(id)),
      [],
      "expected no delivery of what never left",
    );
  }),

  portCase("what a disposed sender is given comes back unsent", [], async (s) => {
    const topic = await s.topic("after-dispose");
    const sender = await s.main.sender();
    await sender.dispose();
    assert.deepEqual(tally(await sender.post(s.main.messages.many(topic, 3)).all()), { unsent: 3 });
  }),

  portCase("two senders of one transport live side by side", [], async (s) => {
    const topic = await s.topic("successor");
    const retired = await s.main.sender();
    const early = retired.post(s.main.messages.many(topic, 100));
    const successor = await s.main.sender();
    const both = [retired, successor].map((sender) => sender.post(s.main.messages.many(topic, 100)));
    for (const copies of [early, ...both]) assert.deepEqual(tally(await copies.all()), { accepted: 100 });
    assert.deepEqual([...retired.lost, ...successor.lost], []);
    await retired.dispose();
    await successor.accepted(s.main.messages.many(topic, 10));
  }),

  portCase("disposing twice is harmless", [], async (s) => {
    const topic = await s.topic("twice");
    const peer = s.peer();
    const sender = await peer.sender();
    const receiver = await peer.receiver(topic);
    await within(
      s.rig.limitMs,
      "each dispose to end",
      Promise.all([sender.dispose(), sender.dispose(), receiver.dispose(), receiver.dispose()]),
    );
    await within(s.rig.limitMs, "each dispose to end", Promise.all([peer.dispose(), peer.dispose()]));
  }),

  portCase("a disposed transport opens nothing", [], async (s) => {
    const peer = s.peer();
    await (await peer.sender()).dispose();
    await peer.dispose();
    const error = await rejection(peer.sender(), "opening a sender");
    assert.equal(error.code, "closed");
  }),

  portCase("opening obeys its signal", [], async (s) => {
    const topic = await s.topic("signal");
    const why = new TallyError("aborted", "enough");
    const fired = AbortSignal.abort(why);
    const { events: sending } = await s.main.sender();
    const { events: receiving } = await s.main.receiver(topic);
    const subscription = { topic, group: "g", credit: 1, consumer: "c" };
    await rejection(s.main.transport.openSender(sending, fired), "opening a sender");
    await rejection(s.main.transport.openReceiver(subscription, receiving, fired), "opening a receiver");
  }),

  portCase("while the broker is away, opening fails with a typed error and can be repeated", ["kill"], async (s) => {
    const topic = await s.topic("away");
    await s.rig.kill!.begin();
    try {
      const peer = s.peer();
      for (const opening of [() => peer.sender(), () => peer.receiver(topic), () => peer.declare(topic)]) {
        const error = await rejection(opening(), "opening a session");
        assert.equal(error.code, "unreachable");
        assert.equal(error.retryable, true);
      }
    } finally {
      await s.rig.kill!.end();
    }
    const peer = s.peer();
    await peer.declare(topic);
    await (await peer.sender()).accepted(peer.messages.many(topic, 3));
  }),
];

async function rejection(work: Promise<unknown>, what: string): Promise<TallyError> {
  const settled: unknown = await work.then(
    () => new assert.AssertionError({ message: `expected ${what} to reject; it resolved` }),
    (thrown: unknown) => thrown,
  );
  if (settled instanceof assert.AssertionError) throw settled;
  assert.ok(TallyError.is(settled), `expected a TallyError; got ${String(settled)}`);
  return settled;
}
