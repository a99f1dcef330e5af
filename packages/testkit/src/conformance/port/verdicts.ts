import assert from "node:assert/strict";
import { type Outgoing, TallyError, type Verdict } from "@tallymq/core/spi";
import type { ConformanceCase } from "../case.ts";
import { ids, noise } from "../messages.ts";
import { tally, type TestSender } from "../sending.ts";
import { portCase, type Stage } from "../stage.ts";

/** Bodies larger than this are not worth their time in a suite. */
const LARGEST_TRIED = 32 * 1024 * 1024;

export const verdictCases: readonly ConformanceCase[] = [
  portCase("each index of each batch gets exactly one verdict", [], async (s) => {
    const topic = await s.topic("verdicts");
    const sender = await s.main.sender();
    const batches = [1, 7, 64, 1, 128].map((size) => sender.post(s.main.messages.many(topic, size)));
    for (const batch of batches) assert.deepEqual(tally(await batch.all()), { accepted: batch.messages.length });
    await s.quiet();
    for (const batch of batches) batch.check();
  }),

  portCase("what is accepted is routed and delivered", [], async (s) => {
    const topic = await s.topic("accepted");
    const messages = s.main.messages.many(topic, 20);
    const sender = await s.main.sender();
    for (const verdict of await sender.post(messages).all()) {
      assert.equal(verdict.kind, "accepted");
      assert.notEqual(
        verdict.kind === "accepted" && verdict.proof.routed,
        "no",
        "expected that what is accepted was routed",
      );
    }
    const receiver = await s.main.receiver(topic, { auto: true });
    await receiver.has(ids(messages));
    assert.equal(receiver.deliveries.length, 20, "expected each message once");
  }),

  portCase("a copy may be sent from within a verdict", [], async (s) => {
    const topic = await s.topic("within");
    const sender = await s.main.sender();
    const next: { copies: ReturnType<typeof sender.post> | null } = { copies: null };
    const raw = await s.main.transport.openSender({ ...sender.events }, AbortSignal.timeout(s.rig.limitMs));
    const first = s.main.messages.one(topic);
    raw.send(raw.lane(first, null), [first], () => (next.copies = sender.post([s.main.messages.one(topic)])));
    await s.watch.until(
      "a verdict for the first copy",
      () => next.copies !== null,
      () => "none",
    );
    assert.deepEqual(tally((await next.copies?.all()) ?? []), { accepted: 1 });
    await raw[Symbol.asyncDispose]();
  }),

  portCase("unroutable is a verdict of that copy alone", ["unroutable"], async (s) => {
    const nowhere = await s.topic("nowhere", { groups: [] });
    const somewhere = await s.topic("somewhere");
    const sender = await s.main.sender();
    const [a, b, c] = await sender
      .post([s.main.messages.one(somewhere), s.main.messages.one(nowhere), s.main.messages.one(somewhere)])
      .all();
    assert.deepEqual([a?.kind, b?.kind, c?.kind], ["accepted", "unroutable", "accepted"]);
    assert.equal(codeOf(b), "unroutable");
    await sender.accepted(s.main.messages.many(somewhere, 3));
    assert.deepEqual(sender.lost, [], "expected the session to live on");
  }),

  portCase("a copy over maxBytes is refused alone, one of maxBytes is not", [], async (s) => {
    const topic = await s.topic("large");
    const { maxBytes } = s.main.transport.traits;
    const largest = Math.min(maxBytes, LARGEST_TRIED);
    const sender = await s.main.sender();
    const small = (): Outgoing => s.main.messages.one(topic);
    const batch: Outgoing[] = [small(), s.main.messages.one(topic, { body: noise(maxBytes + 1) }), small()];
    const [before, tooLarge, after] = await sender.post(batch).all();
    assert.deepEqual([before?.kind, tooLarge?.kind, after?.kind], ["accepted", "refused", "accepted"]);
    assert.equal(codeOf(tooLarge), "too-large");
    await sender.accepted([s.main.messages.one(topic, { body: noise(largest) })]);
    assert.deepEqual(sender.lost, [], "expected the session to live on");
    const receiver = await s.main.receiver(topic, { auto: true });
    assert.deepEqual(
      (await receiver.first(3))
        .map((d) => d.message.body.length)
        .sort((x, y) => x - y)
        .at(-1),
      largest,
    );
  }),

  portCase("what the broker does not store now comes back as later, and may be sent again", ["nack"], async (s) => {
    const topic = await s.topic("nacked");
    const sender = await s.main.sender();
    await sender.accepted(s.main.messages.many(topic, 2));
    const undo = await s.rig.nack!(topic, "g");
    // A broker that is full may take a few more before it says so.
    const later: Outgoing[] = [];
    for (let tries = 0; later.length === 0 && tries < 200; tries++) {
      const copies = sender.post(s.main.messages.many(topic, 5));
      for (const verdict of await copies.all()) {
        assert.ok(
          verdict.kind === "accepted" || verdict.kind === "later",
          `expected accepted or later; got ${verdict.kind}`,
        );
        if (verdict.kind === "later")
          assert.ok(
            verdict.afterMs >= 0 && verdict.error.retryable,
            "expected a time to wait, and an error that is retryable",
          );
      }
      later.push(...copies.ofKind("later"));
    }
    assert.notEqual(later.length, 0, "expected a later verdict");
    assert.deepEqual(sender.lost, [], "expected the session to live on");
    const receiver = await s.main.receiver(topic, { auto: true });
    await undo();
    await untilAccepted(s, sender, later);
    await receiver.has(ids(later));
    for (const id of ids(later))
      assert.equal(
        receiver.ids.filter((got) => got === id).length,
        1,
        "expected that what came back as later was not stored",
      );
  }),
];

/** A broker may need a moment to learn that it takes messages again. */
async function untilAccepted(s: Stage, sender: TestSender, messages: readonly Outgoing[]): Promise<void> {
  const end = performance.now() + s.rig.limitMs;
  for (let left = messages; left.length > 0;) {
    assert.ok(performance.now() < end, `expected every copy to be accepted at last; ${left.length} are not`);
    const copies = sender.post(left);
    await copies.all();
    left = copies.ofKind("later");
    assert.equal(copies.ofKind("accepted").length + left.length, copies.messages.length, "expected accepted or later");
    if (left.length > 0) await s.quiet();
  }
}

function codeOf(verdict: Verdict | undefined): string | null {
  return verdict !== undefined && verdict.kind !== "accepted" && TallyError.is(verdict.error)
    ? verdict.error.code
    : null;
}
