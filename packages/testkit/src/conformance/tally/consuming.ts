import assert from "node:assert/strict";
import type { ConformanceCase } from "../case.ts";
import { type Order, textual } from "./order.ts";
import { tallyCase } from "./stage.ts";

export const consumingCases: readonly ConformanceCase[] = [
  tallyCase("a handler that fails twice is tried again in place, and its message is settled once", [], async (s) => {
    const orders = s.topic<Order>("attempts");
    const { tally } = await s.tally();
    const attempts: number[] = [];
    const effects = await s.consumer(tally, orders, {
      attempts: 3,
      before(_, { attempt }) {
        attempts.push(attempt);
        if (attempt < 3) throw new Error("not yet");
      },
    });
    const { id } = await s.settled("a receipt", tally.publish(orders, { n: 1 }));
    await effects.has([id]);
    await s.allSettled(orders);
    await s.quiet();
    assert.deepEqual(attempts, [1, 2, 3]);
  }),

  tallyCase("when its attempts are used up, a message comes again: as a delayed copy, or released", [], async (s) => {
    const orders = s.topic<Order>("released");
    const { tally } = await s.tally();
    const calls: { attempt: number; deliveries: number | null }[] = [];
    const effects = await s.consumer(tally, orders, {
      attempts: 2,
      before(_, { attempt, deliveries }) {
        calls.push({ attempt, deliveries });
        if (calls.length <= 2) throw new Error("not yet");
      },
    });
    const { id } = await s.settled("a receipt", tally.publish(orders, { n: 1 }));
    await effects.has([id]);
    assert.deepEqual(
      calls.map((c) => c.attempt),
      [1, 2, 1],
    );
    const { delayed = 0, released = 0 } = tally.counters();
    assert.deepEqual([delayed, released], tally.traits.longestDelay > 0 ? [1, 0] : [0, 1]);
    if (tally.traits.countsDeliveries && released > 0)
      assert.ok(calls[2]!.deliveries! > calls[0]!.deliveries!, "expected a higher count of deliveries");
    await s.allSettled(orders);
  }),

  tallyCase("a message whose consumer goes away in its handler is handled by another", [], async (s) => {
    const orders = s.topic<Order>("abandoned");
    const { tally } = await s.tally();
    const { tally: dying } = await s.tally();
    const running: AbortSignal[] = [];
    const first = await s.consumer(dying, orders, {
      before: async (_, { signal }) => {
        running.push(signal);
        s.watch.changed();
        await new Promise<never>((_resolve, reject) =>
          signal.addEventListener("abort", () => reject(new Error("gone")), { once: true }),
        );
      },
    });
    const { id } = await s.settled("a receipt", tally.publish(orders, { n: 1 }));
    await s.watch.until(
      "a handler to run",
      () => running.length > 0,
      () => 0,
    );
    await s.settled("close", dying.close({ within: 20 }));
    assert.ok(
      running.every((signal) => signal.aborted),
      "expected the signal of a handler that close gave up on",
    );
    assert.equal(first.seen.length, 0);
    const second = await s.consumer(tally, orders);
    await second.has([id]);
    await s.allSettled(orders);
  }),

  tallyCase("handlers of one key run one after the other, those of different keys side by side", [], async (s) => {
    const orders = s.topic<Order>("lanes", { key: (o) => `k${o.n % 4}` });
    const { tally } = await s.tally({ topics: [orders] });
    const receipts = await s.settled(
      "receipts",
      Promise.all(Array.from({ length: 40 }, (_, n) => tally.publish(orders, { n }))),
    );
    const running = new Map<string, number>();
    let most = 0;
    let overlap = 0;
    const effects = await s.consumer(tally, orders, {
      lanes: 4,
      async before(_, { key }) {
        const now = (running.get(key!) ?? 0) + 1;
        running.set(key!, now);
        overlap += now > 1 ? 1 : 0;
        most = Math.max(
          most,
          [...running.values()].reduce((a, b) => a + b, 0),
        );
        await new Promise((resolve) => setTimeout(resolve, 2));
        running.set(key!, running.get(key!)! - 1);
      },
    });
    await effects.has(receipts.map((r) => r.id));
    assert.equal(overlap, 0, "expected no two handlers of one key at the same time");
    assert.ok(most > 1 && most <= 4, `expected 2 to 4 handlers at the same time; got ${most}`);
  }),

  tallyCase("each group handles every message, and members of a group share", [], async (s) => {
    const orders = s.topic<Order>("groups", { groups: ["g", "other"] });
    const { tally } = await s.tally({ topics: [orders] });
    const { tally: second } = await s.tally();
    const members = [await s.consumer(tally, orders), await s.consumer(second, orders)];
    const other = await s.consumer(tally, orders, { group: "other" });
    const receipts = await s.settled(
      "receipts",
      Promise.all(Array.from({ length: 60 }, (_, n) => tally.publish(orders, { n }))),
    );
    const ids = receipts.map((r) => r.id).sort();
    await other.has(ids);
    const shared = (): (string | null)[] => members.flatMap((m) => m.seen.map((e) => e.id));
    await s.watch.until(
      "60 effects in the group",
      () => shared().length >= 60,
      () => shared().length,
    );
    await s.quiet();
    assert.deepEqual(shared().sort(), ids, "expected each message at one member, once");
  }),

  tallyCase("a paused consumer starts no handler, and goes on when resumed", [], async (s) => {
    const orders = s.topic<Order>("paused");
    const { tally } = await s.tally();
    const effects = await s.consumer(tally, orders);
    const first = await s.settled("a receipt", tally.publish(orders, { n: 1 }));
    await effects.has([first.id]);
    effects.consumer.pause();
    const second = await s.settled("a receipt", tally.publish(orders, { n: 2 }));
    await s.quiet();
    assert.equal(effects.seen.length, 1, "expected no handler while paused");
    effects.consumer.resume();
    await effects.has([second.id]);
  }),

  tallyCase(
    "a member whose schema is wrong leaves the topic, and one whose schema is right gets it all",
    [],
    async (s) => {
      const orders = s.topic<Order>("schema-guard");
      const observed = await s.tally({ topics: [orders] });
      const wrong = await s.consumer(observed.tally, { ...orders, schema: textual }, { lanes: 4, credit: 100 });
      const receipts = await s.settled(
        "receipts",
        Promise.all(Array.from({ length: 60 }, (_, n) => observed.tally.publish(orders, { n }))),
      );
      await s.event(observed, "subscription-paused");
      const { tally } = await s.tally();
      const right = await s.consumer(tally, orders);
      await right.has(receipts.map((r) => r.id));
      assert.equal(wrong.seen.length, 0);
      wrong.consumer.resume();
      await s.event(observed, "subscription-resumed");
      await s.allSettled(orders);
    },
  ),

  tallyCase("a foreign message without an id is handled and settled", ["foreign"], async (s) => {
    const orders = s.topic<Order>("foreign");
    const { tally } = await s.tally({ topics: [orders] });
    const effects = await s.consumer(tally, orders);
    await s.rig.foreign!(orders.name, new TextEncoder().encode('{"n":17}'));
    await s.watch.until(
      "an effect",
      () => effects.seen.length > 0,
      () => 0,
    );
    const { id, body, context } = effects.seen[0]!;
    assert.deepEqual({ id, body, producer: context.producer }, { id: null, body: { n: 17 }, producer: null });
    await s.allSettled(orders);
  }),

  tallyCase("close lets handlers finish and their publishes drain, then rejects", [], async (s) => {
    const orders = s.topic<Order>("closing");
    const events = s.topic<Order>("closing-events");
    const observed = await s.tally({ topics: [orders, events] });
    const { tally } = observed;
    let begun = 0;
    const effects = await s.consumer(tally, orders, {
      async before(body) {
        begun++;
        s.watch.changed();
        await s.quiet();
        await tally.publish(events, body, { id: `event-${body.n}` });
      },
    });
    const pending = Array.from({ length: 10 }, (_, n) => tally.publish(orders, { n }, { id: `order-${n}` }));
    await s.watch.until(
      "a handler to run",
      () => begun > 0,
      () => begun,
    );
    // Not awaited by anyone: they drain.
    pending.push(
      ...Array.from({ length: 20 }, (_, n) => tally.publish(orders, { n: 10 + n }, { id: `order-${10 + n}` })),
    );
    await s.settled("close", tally.close({ within: s.rig.limitMs }));
    const receipts = await s.settled("receipts", Promise.all(pending));
    assert.equal(receipts.length, 30);
    const finished = effects.seen.length;
    assert.equal(finished, begun, "expected each handler that had begun to finish");
    const error: unknown = await tally.publish(orders, { n: 99 }).catch((thrown: unknown) => thrown);
    assert.equal((error as { code?: string }).code, "closed");
    // What it left is there for the next, and what its handlers sent has arrived.
    const { tally: next } = await s.tally();
    const rest = await s.consumer(next, orders);
    const sent = await s.consumer(next, events);
    const done = new Set(effects.seen.map((e) => e.id));
    await rest.has(receipts.map((r) => r.id).filter((id) => !done.has(id)));
    await sent.has(effects.seen.map((e) => `event-${e.body.n}`));
    await s.allSettled(orders);
    assert.deepEqual(
      rest.seen.map((e) => e.id).filter((id) => done.has(id)),
      [],
      "expected that what was handled was settled",
    );
  }),
];
