import assert from "node:assert/strict";
import type { TopicPlan } from "@tallymq/core/spi";
import type { ConformanceCase } from "../case.ts";
import { ids } from "../messages.ts";
import { portCase, type Stage } from "../stage.ts";

export const settlementCases: readonly ConformanceCase[] = [
  portCase("an ack removes the message from its group", [], async (s) => {
    const topic = await s.topic("acked", { groups: ["g", "other"] });
    await sent(s, topic, 10);
    const receiver = await s.main.receiver(topic);
    receiver.ack(...(await receiver.first(10)));
    await s.main.backlogIs(0, topic);
    assert.equal(await s.main.backlog(topic, "other"), 10, "expected the other group's copies to stay");
    await receiver.dispose();
    await remains(s, topic, []);
  }),

  portCase("what is not settled comes again after its receiver is disposed of", [], async (s) => {
    const topic = await s.topic("again");
    const all = await sent(s, topic, 10);
    const receiver = await s.main.receiver(topic);
    const got = await receiver.first(10);
    const done = got.slice(0, 4);
    receiver.ack(...done);
    await receiver.dispose();
    await remains(
      s,
      topic,
      all.filter((id) => !done.some((d) => d.message.id === id)),
    );
  }),

  portCase("a redelivery has a higher count", ["count"], async (s) => {
    const topic = await s.topic("count");
    const [id] = await sent(s, topic, 1);
    const counts: (number | null)[] = [];
    for (let round = 0; round < 3; round++) {
      const receiver = await s.main.receiver(topic);
      const [delivery] = await receiver.first(1);
      assert.equal(delivery!.message.id, id);
      counts.push(delivery!.count);
      await receiver.dispose();
    }
    assert.deepEqual(counts, [1, 2, 3]);
  }),

  portCase("what is released comes again", ["release"], async (s) => {
    const topic = await s.topic("released");
    await sent(s, topic, 3);
    const receiver = await s.main.receiver(topic);
    const [a, b, c] = await receiver.first(3);
    const started = performance.now();
    receiver.release(b!, 50);
    receiver.ack(a!, c!);
    const again = (await receiver.first(4))[3];
    assert.equal(again!.message.id, b!.message.id);
    if (s.main.transport.traits.release === "delayed")
      assert.ok(performance.now() - started >= 45, "expected the release to obey its delay");
    if (again!.count !== null && b!.count !== null)
      assert.ok(again!.count > b!.count, `expected a higher count than ${b!.count}; got ${again!.count}`);
    receiver.ack(again!);
    await s.main.backlogIs(0, topic);
  }),

  portCase("acks are merged only over what is fully settled", [], async (s) => {
    const topic = await s.topic("merged");
    await sent(s, topic, 12);
    const receiver = await s.main.receiver(topic);
    const got = await receiver.first(12);
    // Behind unfinished ones, then a prefix, then one in between; a turn of the loop apart, so that each is flushed.
    for (const part of [got.slice(6, 12), got.slice(0, 2), got.slice(3, 4)]) {
      receiver.ack(...part);
      await s.quiet();
    }
    await receiver.dispose();
    await remains(
      s,
      topic,
      [2, 4, 5].map((index) => got[index]!.message.id!),
    );
  }),

  portCase("settling twice is a no-op", [], async (s) => {
    const topic = await s.topic("twice");
    await sent(s, topic, 6);
    const receiver = await s.main.receiver(topic);
    const got = await receiver.first(6);
    const [a, b, c] = got;
    receiver.ack(a!, a!, b!);
    await s.main.backlogIs(4, topic);
    receiver.ack(a!);
    receiver.release(b!);
    receiver.ack(b!, c!);
    await s.main.backlogIs(3, topic);
    await s.quiet();
    assert.deepEqual(receiver.lost, [], "expected the session to live on");
    assert.equal(receiver.deliveries.length, 6, "expected that what is settled does not come again");
    const [next] = await sent(s, topic, 1);
    await receiver.has([next!]);
  }),

  portCase("a settlement of an earlier epoch is a no-op", [], async (s) => {
    const topic = await s.topic("epoch");
    const all = await sent(s, topic, 3);
    const first = await s.main.receiver(topic);
    const old = await first.first(3);
    await first.dispose();
    const second = await s.main.receiver(topic);
    const again = await second.first(3);
    assert.notEqual(again[0]!.epoch, old[0]!.epoch, "expected an epoch of its own for each session");
    // The handles may look alike: the first delivery of each session has tag 1.
    second.ack(...old);
    first.ack(...old);
    await s.quiet();
    assert.deepEqual(second.lost, [], "expected the session to live on");
    await second.dispose();
    await remains(s, topic, all);
  }),

  portCase("a receiver flushes its settlements before it leaves", [], async (s) => {
    const topic = await s.topic("flushed");
    const all = await sent(s, topic, 30);
    const receiver = await s.main.receiver(topic);
    const got = await receiver.first(30);
    receiver.ack(...got.slice(0, 29));
    await receiver.dispose();
    await remains(s, topic, [got[29]!.message.id!]);
    assert.equal(all.length, 30);
  }),
];

async function sent(s: Stage, topic: TopicPlan, count: number): Promise<readonly string[]> {
  const messages = s.main.messages.many(topic, count);
  await (await s.main.sender()).accepted(messages);
  return ids(messages);
}

/** Exactly these are still in the group, whatever the order: a fresh receiver gets them and nothing else. */
async function remains(s: Stage, topic: TopicPlan, expected: readonly string[]): Promise<void> {
  const receiver = await s.main.receiver(topic);
  // The marker is the last message of the topic: brokers that keep order have delivered all the others by then.
  const [marker] = await sent(s, topic, 1);
  await receiver.has([marker!, ...expected]);
  await s.quiet();
  assert.deepEqual(
    [...receiver.ids].sort(),
    [marker!, ...expected].sort(),
    "expected these messages, once each, and no others",
  );
}
