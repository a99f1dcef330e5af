import assert from "node:assert/strict";
import type { Incoming, Outgoing } from "@tallymq/core/spi";
import type { ConformanceCase } from "../case.ts";
import { ids } from "../messages.ts";
import type { TestReceiver } from "../receiving.ts";
import { portCase } from "../stage.ts";

/** Milliseconds by which a copy comes later than another one. */
const SHORT = 100;
const LONG = 250;
/** Clocks of two processes, and timers that round, may differ by so much; in milliseconds. */
const SLACK = 5;

export const copyCases: readonly ConformanceCase[] = [
  portCase("a copy for one group reaches that group alone", [], async (s) => {
    const topic = await s.topic("copy", { groups: ["a", "b"] });
    const only = s.main.messages.one(topic, { group: "b" });
    const all = s.main.messages.one(topic);
    const sender = await s.main.sender();
    await sender.accepted([only]);
    await sender.accepted([all]);
    const receivers = {
      a: await s.main.receiver(topic, { group: "a", auto: true }),
      b: await s.main.receiver(topic, { group: "b", auto: true }),
    };
    await receivers.b.has(ids([only, all]));
    await receivers.a.has(ids([all]));
    await s.quiet();
    assert.deepEqual(receivers.a.ids, ids([all]), "expected nothing in the other group but what was for both");
    assert.equal(receivers.b.deliveries.length, 2, "expected each message once in the group of the copy");
  }),

  portCase("a copy for a group that is not there is unroutable", ["unroutable"], async (s) => {
    const topic = await s.topic("nobody", { groups: ["a"] });
    const copies = (await s.main.sender()).post([s.main.messages.one(topic, { group: "b" })]);
    const [verdict] = await copies.all();
    assert.equal(verdict?.kind, "unroutable", "expected no other group to stand in for it");
    assert.equal(await s.main.backlog(topic, "a"), 0);
  }),

  portCase("a copy for one group arrives as the message it is a copy of", [], async (s) => {
    const topic = await s.topic("same", { groups: ["g", "other"] });
    const receiver = await s.main.receiver(topic, { auto: true });
    await (await s.main.sender()).accepted([s.main.messages.one(topic, { ...ENVELOPE, group: "g" })]);
    await comesWhole(receiver);
  }),

  portCase("a delayed copy comes when its time has come, not before, with all that it had", ["delay"], async (s) => {
    const topic = await s.delayed("later", { groups: ["g", "other"] });
    const receiver = await s.main.receiver(topic, { auto: true });
    const other = await s.main.receiver(topic, { group: "other", auto: true });
    const sender = await s.main.sender();
    const began = performance.now();
    await sender.accepted([s.main.messages.one(topic, { ...ENVELOPE, group: "g", delayMs: LONG })]);
    await comesWhole(receiver);
    const after = performance.now() - began;
    assert.ok(after >= LONG - SLACK, `expected nothing before ${LONG} ms; it came after ${Math.round(after)} ms`);
    await s.quiet();
    assert.deepEqual(other.ids, [], "expected nothing in the other group");
  }),

  portCase("a short delay does not wait behind a longer one that was sent before it", ["delay"], async (s) => {
    const topic = await s.delayed("overtaking");
    const sender = await s.main.sender();
    // One key: where a topic has partitions, the order of two of them says nothing.
    const one = (id: string, delayMs: number): Outgoing =>
      s.main.messages.one(topic, { id, key: "k", group: "g", delayMs });
    const receiver = await s.main.receiver(topic, { auto: true });
    // Whoever hands on what is delayed has begun.
    await sender.accepted([one("first", SHORT)]);
    await receiver.first(1);
    await sender.accepted([one("long", LONG), one("none", 0), one("short", SHORT)]);
    await receiver.first(4);
    assert.deepEqual(receiver.ids, ["first", "none", "short", "long"]);
  }),

  portCase("a delayed message for all groups reaches each of them, once", ["delay"], async (s) => {
    const topic = await s.delayed("all-later", { groups: ["a", "b"] });
    const message = s.main.messages.one(topic, { delayMs: SHORT });
    const began = performance.now();
    await (await s.main.sender()).accepted([message]);
    for (const group of ["a", "b"]) {
      const receiver = await s.main.receiver(topic, { group, auto: true });
      await receiver.has(ids([message]));
      const after = performance.now() - began;
      assert.ok(after >= SHORT - SLACK, `expected nothing before ${SHORT} ms; it came after ${Math.round(after)} ms`);
      await s.quiet();
      assert.equal(receiver.deliveries.length, 1, `expected it once in group ${group}`);
    }
  }),

  portCase("what is delayed outlives the broker", ["delay", "kill"], async (s) => {
    const topic = await s.delayed("outliving");
    const messages = s.main.messages.many(topic, 20, (i) => ({ group: "g", delayMs: SHORT + 5 * i }));
    await (await s.main.sender()).accepted(messages);
    await s.rig.kill!.begin();
    await s.rig.kill!.end();
    const receiver = await s.peer().receiver(topic, { auto: true });
    await receiver.has(ids(messages));
  }),
];

const ENVELOPE: Partial<Outgoing> = {
  id: "order-4711",
  producer: "another-shop",
  key: "customer 17 ✓",
  type: "order.created",
  contentType: "application/vnd.shop+json",
  attempt: 7,
  correlationId: "correlation-ß",
  headers: { tenant: "acme", traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01" },
};

async function comesWhole(receiver: TestReceiver): Promise<void> {
  const [delivery] = await receiver.first(1);
  const { message } = delivery!;
  const { headers, ...fields } = ENVELOPE;
  const got = Object.fromEntries(Object.keys(fields).map((field) => [field, message[field as keyof Incoming]]));
  assert.deepEqual(got, fields);
  assert.deepEqual({ ...message.headers }, headers, "expected the caller's headers, and no others");
}
