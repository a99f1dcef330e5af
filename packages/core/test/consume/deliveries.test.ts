import { describe, expect, test } from "vitest";
import type { Context } from "../../src/consume/options.ts";
import { topic } from "../../src/topic.ts";
import { bench, settle } from "../support/receiving.ts";

const orders = topic<{ id: string | null }>("orders");

describe("a delivery", () => {
  test("is acked after its handler's promise resolved, and not before", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    await b
      .consumer()
      .on(orders, () => gate.promise)
      .start();
    b.receiver.deliver({ id: "m1" });
    await settle();
    expect(b.receiver.settled).toEqual([]);
    gate.resolve();
    await settle();
    expect(b.receiver.settled).toEqual(["ack m1"]);
  });

  test("reaches a synchronous handler at once, with its body and context", async () => {
    const b = bench();
    const seen: unknown[] = [];
    await b
      .consumer()
      .on(
        orders,
        (body, c) =>
          void seen.push([
            body,
            c.id,
            c.key,
            c.topic,
            c.group,
            c.attempt,
            c.deliveries,
            c.producer,
            c.headers,
            c.time,
            c.native,
          ]),
      )
      .start();
    b.receiver.deliver({ id: "m1", key: "k", count: 3, headers: { traceparent: "00-1" }, time: 5, native: "raw" });
    expect(seen).toEqual([
      [{ id: "m1" }, "m1", "k", "orders", "billing", 1, 3, "shop", { traceparent: "00-1" }, 5, "raw"],
    ]);
    await settle();
    expect(b.receiver.settled).toEqual(["ack m1"]);
  });

  test("that arrives before the session is in use waits for it", async () => {
    const b = bench();
    const seen: (string | null)[] = [];
    b.transport.onOpen = (receiver) => {
      receiver.deliver({ id: "early" });
      expect(seen).toEqual([]);
    };
    await b
      .consumer()
      .on(orders, (_body, { id }) => void seen.push(id))
      .start();
    expect(seen).toEqual(["early"]);
    await settle();
    expect(b.receiver.settled).toEqual(["ack early"]);
  });

  test("acks of one tick are one batch, also those of asynchronous handlers", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    let n = 0;
    await b
      .consumer()
      .on(orders, async () => {
        await gate.promise;
        for (let hops = n++ % 4; hops > 0; hops--) await null;
      })
      .start();
    b.receiver.deliver(...Array.from({ length: 12 }, (_, i) => ({ id: `m${i}` })));
    await settle();
    gate.resolve();
    await settle();
    expect(b.receiver.batches.map((batch) => batch.length)).toEqual([12]);
  });
});

describe("signal", () => {
  test("is there, does not fire, and is the same object throughout an attempt", async () => {
    const b = bench();
    const contexts: Context[] = [];
    await b
      .consumer()
      .on(orders, (_body, context) => void contexts.push(context))
      .start();
    b.receiver.deliver({});
    const [context] = contexts;
    expect(context!.signal.aborted).toBe(false);
    expect(context!.signal).toBe(context!.signal);
  });
});
