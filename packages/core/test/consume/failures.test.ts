import { describe, expect, test } from "vitest";
import { topic } from "../../src/topic.ts";
import { bench, settle } from "../support/receiving.ts";

const orders = topic<{ id: string | null }>("orders");
const fail = (): never => {
  throw new Error("declined");
};

describe("a handler that throws", () => {
  test("runs again in place up to `attempts`, then the delivery is released; each failure is an event", async () => {
    const b = bench();
    const attempts: number[] = [];
    await b
      .consumer({ attempts: 3 })
      .on(orders, (_body, { attempt }) => {
        attempts.push(attempt);
        fail();
      })
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.runUntil(() => b.receiver.settled.length > 0, 60_000);
    expect(attempts).toEqual([1, 2, 3]);
    expect(b.receiver.settled).toEqual(["release m1"]);
    expect(b.of("attempt-failed").map((e) => [e.attempt, e.id, e.error.code])).toEqual([
      [1, "m1", "handler"],
      [2, "m1", "handler"],
      [3, "m1", "handler"],
    ]);
    expect(b.of("released")).toHaveLength(1);
  });

  test("and succeeds at a later attempt is acked", async () => {
    const b = bench();
    await b
      .consumer()
      .on(orders, async (_body, { attempt }) => (attempt < 3 ? fail() : undefined))
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(20_000);
    expect(b.receiver.settled).toEqual(["ack m1"]);
    expect(b.clock.pending()).toBe(1); // the scan of deadlines, and no other
  });

  test("waits between attempts with full jitter, doubling from retryMin up to retryMax", async () => {
    const waits: number[][] = [[], [], [], [], []];
    for (let seed = 1; seed <= 40; seed++) {
      const b = bench({}, seed);
      let last = 0;
      await b
        .consumer({ attempts: 6, retryMin: 100, retryMax: 400 })
        .on(orders, (_body, { attempt }) => {
          if (attempt > 1) waits[attempt - 2]!.push(b.clock.now() - last);
          last = b.clock.now();
          fail();
        })
        .start();
      b.receiver.deliver({});
      await b.clock.runUntil(() => b.receiver.settled.length > 0, 60_000);
    }
    for (const [i, ceiling] of [100, 200, 400, 400, 400].entries()) {
      expect(Math.max(...waits[i]!)).toBeLessThan(ceiling);
      expect(Math.max(...waits[i]!)).toBeGreaterThan(ceiling * 0.75);
      expect(Math.min(...waits[i]!)).toBeLessThan(ceiling * 0.25);
    }
  });

  test("gives its lane to others while it waits", async () => {
    const b = bench();
    const seen: (string | null)[] = [];
    await b
      .consumer({ lanes: 1 })
      .on(orders, (_body, { id, attempt }) => {
        seen.push(`${id}.${attempt}`);
        if (id === "bad" && attempt === 1) fail();
      })
      .start();
    b.receiver.deliver({ id: "bad" }, { id: "good" });
    await settle();
    expect(seen).toEqual(["bad.1", "good.1"]);
    await b.clock.advance(1_000);
    expect(seen).toEqual(["bad.1", "good.1", "bad.2"]);
  });
});
