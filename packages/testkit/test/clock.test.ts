import { seededRandom, virtualClock } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";

describe("virtualClock", () => {
  it("runs timers in the order of due time, and of setting where that is the same", async () => {
    const clock = virtualClock();
    const order: string[] = [];
    const random = seededRandom(3);
    const dues: number[] = [];
    for (let i = 0; i < 500; i++) {
      const due = Math.floor(random.unit() * 50);
      dues.push(due);
      clock.after(due, () => order.push(`${due}/${i}`));
    }
    await clock.advance(60);
    const expected = dues.map((due, i) => ({ due, i })).toSorted((a, b) => a.due - b.due || a.i - b.i);
    expect(order).toEqual(expected.map((e) => `${e.due}/${e.i}`));
    expect(clock.pending()).toBe(0);
    expect(clock.now()).toBe(60);
  });

  it("lets promises settle between two timers", async () => {
    const clock = virtualClock();
    const seen: string[] = [];
    clock.after(10, () => {
      void (async () => {
        for (let i = 0; i < 20; i++) await Promise.resolve();
        seen.push(`settled at ${clock.now()}`);
        clock.after(5, () => seen.push(`chained at ${clock.now()}`));
      })();
    });
    clock.after(20, () => seen.push("later"));
    await clock.advance(20);
    expect(seen).toEqual(["settled at 10", "chained at 15", "later"]);
  });

  it("does not run what was cancelled, nor what is not due", async () => {
    const clock = virtualClock();
    const seen: number[] = [];
    const gone = clock.after(5, () => seen.push(5));
    clock.after(6, () => seen.push(6));
    clock.after(7, () => seen.push(7));
    gone.cancel();
    gone.cancel();
    expect(clock.pending()).toBe(2);
    await clock.advance(6);
    expect(seen).toEqual([6]);
    expect(clock.pending()).toBe(1);
  });

  it("stops at the moment a condition holds, and throws at the limit", async () => {
    const clock = virtualClock();
    let ticks = 0;
    const again = (): void => {
      ticks += 1;
      clock.after(10, again);
    };
    clock.after(10, again);
    await clock.runUntil(() => ticks === 3, 1_000);
    expect(clock.now()).toBe(30);
    await expect(clock.runUntil(() => false, 100)).rejects.toThrow("100 ms");
    expect(clock.now()).toBe(130);
  });

  it("gives what a timer throws to whoever moves time", async () => {
    const clock = virtualClock();
    clock.after(1, () => {
      throw new Error("from the timer");
    });
    await expect(clock.advance(2)).rejects.toThrow("from the timer");
  });

  it("refuses a timer that a real one would shorten to 1 ms", () => {
    const clock = virtualClock();
    expect(() => clock.after(2 ** 31, () => {})).toThrow(RangeError);
    expect(() => clock.after(Number.NaN, () => {})).toThrow(RangeError);
  });

  it("keeps monotonic time when the wall clock jumps", async () => {
    const clock = virtualClock({ wall: 1_000 });
    await clock.advance(5);
    clock.jumpWall(-500);
    expect([clock.now(), clock.wall()]).toEqual([5, 505]);
  });
});

describe("seededRandom", () => {
  it("repeats from its seed and differs between seeds", () => {
    const take = (seed: number): number[] => Array.from({ length: 50 }, seededRandom(seed).unit);
    expect(take(7)).toEqual(take(7));
    expect(take(7)).not.toEqual(take(8));
    expect(seededRandom(1).bytes(7)).toEqual(seededRandom(1).bytes(7));
  });

  it("is spread evenly over [0, 1)", () => {
    const random = seededRandom(0);
    const buckets = Array.from({ length: 10 }, () => 0);
    for (let i = 0; i < 100_000; i++) buckets[Math.floor(random.unit() * 10)]! += 1;
    for (const n of buckets) expect(Math.abs(n - 10_000)).toBeLessThan(500);
  });
});
