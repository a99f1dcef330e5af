import { virtualClock } from "@tallymq/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import type { Clock } from "../../src/clock.ts";
import { type Timed, TimingWheel } from "../../src/publish/wheel.ts";
import { growth, MUCH } from "../support/growth.ts";

interface Item extends Timed {
  readonly name: number;
}
const item = (name: number): Item => ({ name, due: 0, prev: null, nextTimed: null });

describe("the timing wheel", () => {
  it("fires each armed item once, never early, at most a tick late; never a disarmed one", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({
            due: fc.integer({ min: 0, max: 20_000 }),
            rearm: fc.option(fc.integer({ min: 0, max: 20_000 })),
            disarm: fc.boolean(),
          }),
          { maxLength: 40 },
        ),
        async (plan) => {
          const clock = virtualClock();
          const fired = new Map<number, number>();
          const wheel = new TimingWheel<Item>(clock, 10, (it) => {
            expect(fired.has(it.name)).toBe(false);
            fired.set(it.name, clock.now());
          });
          const expected = new Map<number, number>();
          for (const [name, { due, rearm, disarm }] of plan.entries()) {
            const it = item(name);
            wheel.arm(it, due);
            if (rearm !== null) wheel.arm(it, rearm);
            if (disarm) wheel.disarm(it);
            else expected.set(name, rearm ?? due);
          }
          expect(wheel.size).toBe(expected.size);
          await clock.advance(21_000);
          expect([...fired.keys()].toSorted()).toEqual([...expected.keys()].toSorted());
          for (const [name, at] of fired) {
            expect(at).toBeGreaterThanOrEqual(expected.get(name) ?? 0);
            expect(at - (expected.get(name) ?? 0)).toBeLessThanOrEqual(11);
          }
          expect(clock.pending()).toBe(0);
        },
      ),
      { numRuns: 60 },
    );
  });

  it("fires what a stall of any length has left behind, and what is armed while firing", async () => {
    const clock = virtualClock();
    const fired: number[] = [];
    const again = item(2);
    const wheel = new TimingWheel<Item>(clock, 10, (it) => {
      fired.push(it.name);
      if (it.name === 1) wheel.arm(again, clock.now());
    });
    wheel.arm(item(1), 50);
    wheel.arm(item(3), 5_900);
    await clock.advance(60_000);
    expect(fired).toEqual([1, 2, 3]);
  });

  it("fires thousands in linear time, also out of a slot full of what is due turns later", async () => {
    const grown = await growth(2_000, async (count) => {
      const clock = virtualClock();
      let fired = 0;
      const wheel = new TimingWheel<Item>(clock, 10, () => fired++);
      for (let i = 0; i < count; i++) wheel.arm(item(i), 1_000 + 5_120 * 20);
      for (let i = 0; i < count; i++) wheel.arm(item(i), 1_000);
      await clock.advance(1_020);
      expect(fired).toBe(count);
    });
    expect(grown).toBeLessThan(MUCH);
  });

  it("fires each once after a stall, of less than a turn and of many, and what is due already when it is armed", () => {
    for (const stall of [700, 5_130, 60_000]) {
      let now = 0;
      let wake: (() => void) | null = null;
      const clock: Clock = {
        now: () => now,
        wall: () => now,
        after(_ms, fn) {
          wake = fn;
          return { cancel: () => void (wake = wake === fn ? null : wake) };
        },
      };
      const fired: number[] = [];
      const wheel = new TimingWheel<Item>(clock, 10, (it) => fired.push(it.name));
      for (const [name, due] of [10, 300, 650].entries()) wheel.arm(item(name), due);
      wheel.arm(item(3), 200_000);
      // The process stood still: no timer fired in between.
      now = stall;
      wake!();
      expect(fired.toSorted()).toEqual([0, 1, 2]);
      wheel.arm(item(4), 20);
      now += 20;
      wake!();
      expect(fired.toSorted()).toEqual([0, 1, 2, 4]);
    }
  });

  it("holds no timer while nothing is armed, nor after stop", async () => {
    const clock = virtualClock();
    const wheel = new TimingWheel<Item>(clock, 10, () => {});
    const it = item(1);
    wheel.arm(it, 100);
    expect(clock.pending()).toBe(1);
    wheel.disarm(it);
    await clock.advance(10_000);
    expect(clock.pending()).toBe(0);
    wheel.arm(it, 20_000);
    wheel.stop();
    expect(clock.pending()).toBe(0);
  });
});
