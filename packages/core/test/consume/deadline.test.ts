import { describe, expect, test } from "vitest";
import { release, retry } from "../../src/consume/rulings.ts";
import { topic } from "../../src/topic.ts";
import { bench, settle } from "../support/receiving.ts";

const orders = topic<{ id: string | null }>("orders");

describe("the processing deadline", () => {
  test("fires the signal, fails the attempt with handler-deadline, and says so; one timer for all handlers", async () => {
    const b = bench();
    const reasons: unknown[] = [];
    await b
      .consumer({ processingDeadline: 1_000, onError: () => release({ after: 0 }) })
      .on(orders, async (_body, { signal }) => {
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        reasons.push(signal.reason);
        throw signal.reason;
      })
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(500);
    b.receiver.deliver({ id: "m2" }, { id: "m3" });
    expect(b.clock.pending()).toBe(1);
    await b.clock.advance(499);
    expect(reasons).toEqual([]);
    await b.clock.advance(1);
    expect(b.of("attempt-failed").map(({ id, error }) => [id, error.code])).toEqual([["m1", "handler-deadline"]]);
    expect(reasons).toMatchObject([{ code: "handler-deadline", id: "m1" }]);
    await b.clock.advance(500);
    expect(b.of("attempt-failed").map(({ id }) => id)).toEqual(["m1", "m2", "m3"]);
    expect(b.of("late-effect").map(({ id, outcome }) => [id, outcome])).toEqual([
      ["m1", "threw"],
      ["m2", "threw"],
      ["m3", "threw"],
    ]);
    expect(b.receiver.settled).toEqual(["release m1", "release m2", "release m3"]);
    await b.clock.advance(10_000);
    expect(b.clock.pending()).toBe(0);
  });

  test("a signal asked for after it has fired already", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    const seen: boolean[] = [];
    await b
      .consumer({ processingDeadline: 1_000 })
      .on(orders, async (_body, context) => {
        await gate.promise;
        seen.push(context.signal.aborted);
      })
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(1_000);
    gate.resolve();
    await settle();
    expect(seen[0]).toBe(true);
  });

  test("a late handler that returns acks nothing; the delivery is tried again once it has settled", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    const started: number[] = [];
    await b
      .consumer({ processingDeadline: 1_000, onError: () => retry({ after: 100 }) })
      .on(orders, async (_body, { attempt }) => {
        started.push(attempt);
        if (attempt === 1) await gate.promise;
      })
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(1_050);
    gate.resolve();
    await settle();
    expect(b.of("late-effect")).toMatchObject([{ id: "m1", outcome: "returned" }]);
    expect(b.receiver.settled).toEqual([]);
    await b.clock.advance(50);
    expect(started).toEqual([1, 2]);
    expect(b.receiver.settled).toEqual(["ack m1"]);
  });

  test("a late handler that has not settled by the end of the back-off: released, not run beside itself", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    let started = 0;
    await b
      .consumer({ processingDeadline: 1_000, onError: () => retry({ after: 100 }) })
      .on(orders, () => {
        started++;
        return gate.promise;
      })
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(1_100);
    expect(b.receiver.settled).toEqual(["release m1"]);
    gate.resolve();
    await b.clock.advance(10_000);
    expect(started).toBe(1);
  });

  test("a late handler keeps its lane, so that no more than `lanes` run, and says when it holds the last one", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    const started: (string | null)[] = [];
    await b
      .consumer({ lanes: 1, processingDeadline: 1_000 })
      .on(orders, async (_body, { id }) => {
        started.push(id);
        if (id === "m1") await gate.promise;
      })
      .start();
    b.receiver.deliver({ id: "m1" }, { id: "m2" });
    await b.clock.advance(30_000);
    expect(started).toEqual(["m1"]);
    expect(b.of("surfaced")).toHaveLength(1);
    gate.resolve();
    await settle();
    expect(started).toEqual(["m1", "m2"]);
  });

  test.each([true, false])("the next of a key (ordered: %s) does not run beside a late handler", async (ordered) => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    const started: (string | null)[] = [];
    await b
      .consumer({ processingDeadline: 1_000, onError: () => release({ after: 0 }) })
      .on(topic("keyed", { key: () => "k", ordered }), async (_body, { id }) => {
        started.push(id);
        if (started.length === 1) await gate.promise;
      })
      .start();
    b.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" });
    await b.clock.advance(30_000);
    expect(started).toEqual(["m1"]);
    // Released, an ordered delivery could run elsewhere beside the late handler.
    expect(b.receiver.settled).toEqual(ordered ? [] : ["release m1"]);
    gate.resolve();
    await b.clock.advance(0);
    expect(b.receiver.settled).toEqual(ordered ? ["release m1", "release m2"] : ["release m1", "ack m2"]);
    expect(started).toEqual(ordered ? ["m1"] : ["m1", "m2"]);
  });

  test("covers an asynchronous schema: the handler is not called after it", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    let ran = 0;
    const slow = topic("orders", {
      schema: {
        "~standard": {
          version: 1 as const,
          vendor: "test",
          validate: (value: unknown) => gate.promise.then(() => ({ value })),
        },
      },
    });
    await b
      .consumer({ processingDeadline: 1_000, onError: () => release({ after: 0 }) })
      .on(slow, () => void ran++)
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(1_000);
    expect(b.of("attempt-failed")).toMatchObject([{ error: { code: "handler-deadline" } }]);
    gate.resolve();
    await settle();
    expect(ran).toBe(0);
    expect(b.of("late-effect")).toEqual([]);
  });
});
