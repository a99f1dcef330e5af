import assert from "node:assert/strict";
import type { Delivery } from "@tallymq/core/spi";
import type { ConformanceCase } from "../case.ts";
import { ids } from "../messages.ts";
import { portCase } from "../stage.ts";

const KEYS = 5;
const MESSAGES = 60;

export const orderCases: readonly ConformanceCase[] = [
  portCase(
    "an ordered topic delivers each key in the order of sending, also when a second consumer takes over",
    ["order"],
    async (s) => {
      const topic = await s.topic("ordered", { ordered: true });
      const messages = s.main.messages.many(topic, MESSAGES, (index) => ({ key: `k${index % KEYS}` }));
      const sender = await s.main.sender();
      // One message of a key on the wire at a time, as core does it.
      for (let at = 0; at < MESSAGES; at += KEYS) await sender.accepted(messages.slice(at, at + KEYS));
      const first = await s.main.receiver(topic, { credit: 10 });
      const second = await s.peer().receiver(topic, { credit: 10 });
      const settled: Delivery[] = [];
      await s.watch.until(
        "deliveries",
        () => first.deliveries.length + second.deliveries.length >= 5,
        () => 0,
      );
      await s.quiet();
      // No key is at both at once.
      const keysOf = (deliveries: readonly Delivery[]): readonly (string | null)[] => [
        ...new Set(deliveries.map((d) => d.message.key)),
      ];
      assert.deepEqual(
        keysOf(first.held).filter((key) => keysOf(second.held).includes(key)),
        [],
        "expected each key at one consumer",
      );
      // The first one leaves in order: stop, finish, close.
      await first.stop();
      const done = first.held;
      first.ack(...done);
      settled.push(...done);
      await first.dispose();
      const acked = new Set<Delivery>();
      while (settled.length < MESSAGES) {
        const fresh = (): readonly Delivery[] => second.held.filter((d) => !acked.has(d));
        await s.watch.until(
          "more deliveries",
          () => fresh().length > 0,
          () => `${settled.length} of ${MESSAGES}`,
        );
        const batch = fresh();
        for (const delivery of batch) acked.add(delivery);
        settled.push(...batch);
        second.ack(...batch);
      }
      assert.deepEqual(
        settled.map((d) => d.message.id).sort(),
        [...ids(messages)].sort(),
        "expected each message once",
      );
      for (let key = 0; key < KEYS; key++) {
        const order = settled.filter((d) => d.message.key === `k${key}`).map((d) => d.message.seq);
        assert.deepEqual(
          order,
          order.toSorted((a, b) => a! - b!),
          `expected the order of sending for key k${key}`,
        );
      }
    },
  ),
];
