import { describe, expect, test } from "vitest";
import type { Consumer } from "../../src/consume/options.ts";
import { TallyError } from "../../src/error.ts";
import { topic } from "../../src/topic.ts";
import { bench, settle } from "../support/receiving.ts";

const orders = topic<{ id: string | null }>("orders");
const bills = topic<{ id: string | null }>("bills", { key: () => "", ordered: true });

describe("close()", () => {
  test("stops, lets handlers finish, settles, and only then leaves; what has not begun stays unsettled", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    const seen: (string | null)[] = [];
    const consumer = await b
      .consumer({ lanes: 1 })
      .on(bills, async (_body, { id, signal }) => {
        seen.push(id);
        await gate.promise;
        expect(signal.aborted).toBe(false);
      })
      .start();
    b.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" }, { id: "m3" });
    let closed = false;
    const closing = consumer.close().then(() => (closed = true));
    await settle();
    expect(b.receiver.stopped).toBe(true);
    expect([b.receiver.disposed, closed]).toEqual([false, false]);
    b.receiver.deliver({ id: "m4" });
    gate.resolve();
    await closing;
    expect(seen).toEqual(["m1"]);
    expect(b.receiver.settled).toEqual(["ack m1"]);
    expect(b.receiver.disposed).toBe(true);
    expect(b.of("consumer-closed")).toMatchObject([{ abandoned: 0 }]);
    expect(b.open.size).toBe(0);
    expect(b.clock.pending()).toBe(0);
  });

  test("at the limit fires the signals and leaves the unfinished unsettled, also when they end afterwards", async () => {
    const b = bench();
    const reasons: unknown[] = [];
    const gate = Promise.withResolvers<void>();
    const consumer = await b
      .consumer()
      .on(orders, async (_body, { id, signal }) => {
        signal.addEventListener("abort", () => reasons.push([id, signal.reason.code]));
        await gate.promise;
      })
      .start();
    b.receiver.deliver({ id: "m1" }, { id: "m2" });
    const closing = consumer.close({ within: "5s" });
    await b.clock.advance(4_999);
    expect(reasons).toEqual([]);
    await b.clock.advance(1);
    await closing;
    expect(reasons).toEqual([
      ["m1", "closed"],
      ["m2", "closed"],
    ]);
    expect(b.of("consumer-closed")).toMatchObject([{ abandoned: 2 }]);
    expect(b.receiver.disposed).toBe(true);
    gate.resolve();
    await settle();
    expect(b.receiver.settled).toEqual([]);
    expect(b.clock.pending()).toBe(0);
  });

  test("ends the waits of what has failed: its delivery stays unsettled, and no timer is left", async () => {
    const b = bench();
    const consumer = await b
      .consumer({ retryMin: "10m", retryMax: "10m" })
      .on(orders, () => {
        throw new Error("declined");
      })
      .start();
    b.receiver.deliver({ id: "m1" });
    await settle();
    expect(b.clock.pending()).toBe(1);
    await consumer.close();
    expect(b.receiver.settled).toEqual([]);
    expect(b.clock.pending()).toBe(0);
  });

  test("a handler that fails while closing is left unsettled at once", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    const consumer = await b
      .consumer()
      .on(orders, () => gate.promise)
      .start();
    b.receiver.deliver({ id: "m1" });
    const closing = consumer.close();
    gate.reject(new Error("declined"));
    await closing;
    expect(b.clock.now()).toBe(0);
    expect(b.receiver.settled).toEqual([]);
  });

  test("of an attempt in place that has just succeeded still acks it", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    const consumer = await b
      .consumer({ retryMin: 1, retryMax: 1 })
      .on(orders, async (_body, { attempt }) => {
        if (attempt === 1) throw new Error("once");
        await gate.promise;
      })
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(10);
    gate.resolve();
    for (let hops = 0; hops < 3; hops++) await null; // it has settled; p-retry has not seen that yet
    await consumer.close();
    expect(b.receiver.settled).toEqual(["ack m1"]);
  });

  test("from inside a listener, while a batch is taken in, starts none of it", async () => {
    const b = bench();
    let ran = 0;
    const consumer = await b
      .consumer()
      .on(orders, () => void ran++)
      .start();
    b.runtime.events.on(({ type }) => void (type === "unidentified" && void consumer.close()));
    b.receiver.deliver({ id: "m1" }, {}, { id: "m3" });
    await consumer.close();
    expect(ran).toBe(0);
    expect(b.receiver.settled).toEqual([]);
  });

  test("does not wait for a receiver that does not come back from stop or dispose", async () => {
    const b = bench();
    const consumer = await b
      .consumer()
      .on(orders, () => {})
      .start();
    b.receiver.leaving = new Promise(() => {});
    const closing = consumer.close({ within: "5s" });
    await b.clock.advance(6_000);
    await closing;
    expect(b.clock.pending()).toBe(0);
  });

  test("while reconnecting ends the tries", async () => {
    const b = bench();
    const consumer = await b
      .consumer()
      .on(orders, () => {})
      .start();
    b.transport.outcomes.push(
      ...Array.from({ length: 50 }, () => new TallyError("unreachable", "away", { retryable: true })),
    );
    b.receiver.events.lost(new TallyError("session-lost", "cut"));
    await b.clock.advance(1_000);
    await consumer.close();
    expect(b.clock.pending()).toBe(0);
    const tries = b.of("reconnect").length;
    await b.clock.advance(60_000);
    expect(b.of("reconnect")).toHaveLength(tries);
  });

  test("is one close, whoever calls it, and `await using` calls it; a wrong limit is refused and closes nothing", async () => {
    const b = bench();
    {
      await using consumer = await b
        .consumer()
        .on(orders, () => {})
        .start();
      await expect(consumer.close({ within: "soon" as never })).rejects.toMatchObject({ code: "bad-config" });
      expect(b.receiver.stopped).toBe(false);
      const [one, two] = [consumer.close(), consumer.close()];
      await Promise.all([one, two]);
    }
    expect(b.of("consumer-closed")).toHaveLength(1);
    const again = await b
      .consumer()
      .on(orders, () => {})
      .start();
    {
      await using _consumer = again;
    }
    expect(b.receiver.disposed).toBe(true);
  });

  test("a handler may wait for the close of its own consumer: the limit ends it", async () => {
    const b = bench();
    const consumer: Consumer = await b
      .consumer()
      .on(orders, () => consumer.close({ within: "1s" }))
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(1_000);
    await consumer.close();
    expect(b.of("consumer-closed")).toMatchObject([{ abandoned: 1 }]);
  });
});
