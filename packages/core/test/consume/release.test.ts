import { describe, expect, test } from "vitest";
import { release } from "../../src/consume/rulings.ts";
import { topic } from "../../src/topic.ts";
import { bench, settle } from "../support/receiving.ts";

const orders = topic<{ id: string | null }>("orders");
const fail = (): never => {
  throw new Error("declined");
};

describe("a release", () => {
  test("is held back with its credit where the broker would send it again at once", async () => {
    const b = bench({ release: "now" });
    await b
      .consumer({ onError: () => release({ after: 5_000 }) })
      .on(orders, fail)
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(4_999);
    expect(b.receiver.settled).toEqual([]);
    await b.clock.advance(1);
    expect(b.receiver.batches.flat()).toMatchObject([{ kind: "release", afterMs: 0 }]);
  });

  test("is the broker's to delay where it can", async () => {
    const b = bench({ release: "delayed" });
    await b
      .consumer({ onError: () => release({ after: 5_000 }) })
      .on(orders, fail)
      .start();
    b.receiver.deliver({ id: "m1" });
    await settle();
    expect(b.receiver.batches.flat()).toMatchObject([{ kind: "release", afterMs: 5_000 }]);
  });

  test("becomes another attempt in place where the broker takes nothing back", async () => {
    const b = bench({ release: "none" });
    const at: number[] = [];
    await b
      .consumer({ onError: () => release({ after: 5_000 }) })
      .on(orders, () => {
        at.push(b.clock.now());
        if (at.length < 3) fail();
      })
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(20_000);
    expect(at).toEqual([0, 5_000, 10_000]);
    expect(b.receiver.settled).toEqual(["ack m1"]);
  });

  test("waits longer the more often the message was delivered, up to retryMax", async () => {
    const longest = async (count: number | null): Promise<number> => {
      let most = 0;
      for (let seed = 1; seed <= 30; seed++) {
        const b = bench({}, seed);
        await b.consumer({ attempts: 1, retryMin: 100, retryMax: 2_000 }).on(orders, fail).start();
        b.receiver.deliver({ id: "m1", count });
        await b.clock.advance(2_000);
        most = Math.max(most, b.of("released")[0]!.afterMs);
      }
      return most;
    };
    expect(await longest(1)).toBeLessThan(100);
    expect(await longest(4)).toBeGreaterThan(400);
    expect(await longest(4)).toBeLessThan(800);
    expect(await longest(50)).toBeGreaterThan(1_600);
    expect(await longest(null)).toBeGreaterThan(1_600);
    expect(await longest(50)).toBeLessThan(2_000);
  });
});
