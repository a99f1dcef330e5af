import assert from "node:assert/strict";
import type { ConformanceCase } from "../case.ts";
import { ids } from "../messages.ts";
import { portCase } from "../stage.ts";

export const receivingCases: readonly ConformanceCase[] = [
  portCase("credit is never exceeded", [], async (s) => {
    const topic = await s.topic("credit");
    await (await s.main.sender()).accepted(s.main.messages.many(topic, 40));
    const receiver = await s.main.receiver(topic, { credit: 7 });
    await receiver.first(7);
    await s.quiet();
    const most = 7 + s.rig.fetch;
    assert.ok(
      receiver.deliveries.length <= most,
      `expected at most ${most} deliveries; got ${receiver.deliveries.length}`,
    );
    let settled = 0;
    // In steps of other sizes than the credit, and not from the front.
    while (settled < 40) {
      const open = receiver.deliveries.slice(settled);
      receiver.ack(...open.toReversed());
      settled += open.length;
      if (settled < 40) await receiver.first(settled + 1);
    }
    assert.ok(receiver.peak <= most, `expected at most ${most} deliveries without a settlement; got ${receiver.peak}`);
  }),

  portCase("two groups each get every message", [], async (s) => {
    const topic = await s.topic("groups", { groups: ["a", "b"] });
    const messages = s.main.messages.many(topic, 20);
    await (await s.main.sender()).accepted(messages);
    for (const group of ["a", "b"]) {
      const receiver = await s.main.receiver(topic, { group, auto: true });
      await receiver.has(ids(messages));
      assert.equal(receiver.deliveries.length, 20, `expected each message once in group ${group}`);
    }
  }),

  portCase("two receivers of one group share its messages", [], async (s) => {
    const topic = await s.topic("shared");
    const receivers = [
      await s.main.receiver(topic, { credit: 5 }),
      await s.peer().receiver(topic, { credit: 5 }),
    ] as const;
    const messages = s.main.messages.many(topic, 40, (index) => ({ key: `k${index}` }));
    await (await s.main.sender()).accepted(messages);
    // Neither settles until both hold something, so that neither can have it all.
    for (const receiver of receivers) await receiver.first(1);
    let settled = [0, 0];
    const all = (): readonly string[] => receivers.flatMap((r) => r.ids);
    while (all().length < 40) {
      const before = all().length;
      settled = receivers.map((r, i) => {
        r.ack(...r.deliveries.slice(settled[i]));
        return r.deliveries.length;
      });
      await s.watch.until(
        "more deliveries",
        () => all().length > before,
        () => `${before} of 40`,
      );
    }
    assert.deepEqual([...all()].sort(), [...ids(messages)].sort(), "expected each message at one of the two, once");
  }),

  portCase("a paused lane delivers nothing until it is resumed", [], async (s) => {
    const topic = await s.topic("paused", { groups: ["g", "other"] });
    const sender = await s.main.sender();
    await sender.accepted([s.main.messages.one(topic, { key: "k" })]);
    const receiver = await s.main.receiver(topic);
    const [first] = await receiver.first(1);
    receiver.port.pause(first!.lane);
    // What is on its way when the lane is paused may still come.
    await s.quiet();
    const messages = s.main.messages.many(topic, 5, () => ({ key: "k" }));
    await sender.accepted(messages);
    // Another group has them all: by then the paused one would have them too.
    await (await s.main.receiver(topic, { group: "other", auto: true })).has(ids(messages));
    await s.quiet();
    assert.equal(receiver.deliveries.length, 1, "expected no delivery of a paused lane");
    // A delivery that is out stays valid.
    receiver.ack(first!);
    receiver.port.resume(first!.lane);
    await receiver.has(ids(messages));
    receiver.ack(...receiver.deliveries.slice(1));
    await s.main.backlogIs(0, topic);
    assert.deepEqual(receiver.lost, []);
  }),

  portCase("stop ends deliveries, while settling still works", [], async (s) => {
    const topic = await s.topic("stopped");
    await (await s.main.sender()).accepted(s.main.messages.many(topic, 20));
    const receiver = await s.main.receiver(topic, { credit: 5 });
    await receiver.first(5);
    await receiver.stop();
    const got = receiver.deliveries.length;
    receiver.ack(...receiver.deliveries);
    await s.main.backlogIs(20 - got, topic);
    await s.quiet();
    assert.equal(receiver.deliveries.length, got, "expected no delivery after stop");
    await receiver.dispose();
    const rest = await s.main.receiver(topic, { auto: true });
    await rest.first(20 - got);
    assert.deepEqual(
      rest.ids.filter((id) => receiver.ids.includes(id)),
      [],
      "expected that what was settled after stop stays away",
    );
  }),

  portCase("a message has the same place each time it is delivered", ["position"], async (s) => {
    const topic = await s.topic("place");
    await (await s.main.sender()).accepted(s.main.messages.many(topic, 5));
    const first = await s.main.receiver(topic);
    const places = new Map((await first.first(5)).map((d) => [d.message.id, d.place]));
    assert.equal(new Set(places.values()).size, 5, "expected a place of its own for each message");
    await first.dispose();
    const second = await s.main.receiver(topic, { auto: true });
    assert.deepEqual(new Map((await second.first(5)).map((d) => [d.message.id, d.place])), places);
  }),
];
