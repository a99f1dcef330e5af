import { describe, expect, test } from "vitest";
import { release, retry } from "../../src/consume/rulings.ts";
import type { Ruling } from "../../src/consume/options.ts";
import { topic } from "../../src/topic.ts";
import { bench } from "../support/receiving.ts";

const orders = topic<{ id: string | null }>("orders");
const fail = (): never => {
  throw new Error("declined");
};

describe("onError", () => {
  test("decides: retry beyond `attempts`, a given wait, a release at the first failure", async () => {
    const b = bench();
    const at: number[] = [];
    const told: unknown[] = [];
    await b
      .consumer({
        attempts: 1,
        onError: (_error, failure) => {
          told.push(failure);
          return failure.attempt < 4 ? retry({ after: "250ms" }) : release({ after: "2s" });
        },
      })
      .on(orders, () => {
        at.push(b.clock.now());
        fail();
      })
      .start();
    b.receiver.deliver({ id: "m1", count: 7 });
    await b.clock.advance(2_749);
    expect(at).toEqual([0, 250, 500, 750]);
    expect(told[3]).toEqual({ attempt: 4, delays: 0, deliveries: 7, topic: "orders", id: "m1" });
    expect(b.receiver.settled).toEqual([]);
    await b.clock.advance(1);
    expect(b.receiver.settled).toEqual(["release m1"]);
    expect(b.of("released")).toMatchObject([{ afterMs: 2_000 }]);
  });

  test.each<[string, () => Ruling]>([
    ["throws", fail],
    ["returns nothing", () => undefined as unknown as Ruling],
    ["returns a promise", () => Promise.resolve(retry()) as unknown as Ruling],
    ["asks for a wait that cannot be", () => retry({ after: -1 })],
  ])("that %s counts as a release, and is surfaced", async (_what, onError) => {
    const b = bench();
    let ran = 0;
    await b
      .consumer({ onError })
      .on(orders, () => {
        ran++;
        fail();
      })
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(60_000);
    expect(ran).toBe(1);
    expect(b.receiver.settled).toEqual(["release m1"]);
    expect(b.of("surfaced")).toMatchObject([{ what: "orders / billing" }]);
  });

  test("that always retries at once leaves at least a millisecond between attempts", async () => {
    const b = bench();
    let ran = 0;
    await b
      .consumer({ onError: () => retry({ after: 0 }) })
      .on(orders, () => {
        ran++;
        fail();
      })
      .start();
    b.receiver.deliver({});
    await b.clock.advance(50);
    expect(ran).toBe(51);
  });
});
