import { describe, expect, it } from "vitest";
import { seededRandom } from "@tallymq/testkit";
import { DELAY, DUE, dueOf, leavesAt, LONGEST_DELAY, STEP_MS, stepOf, STEPS } from "../../src/delays/ladder.ts";

describe("the ladder of steps", () => {
  it("takes a delay at the longest step that is over before it is", () => {
    expect([1, 64, 127, 128, 1_000, 3_600_000].map(stepOf)).toEqual([0, 0, 0, 1, 3, 15]);
    expect([stepOf(LONGEST_DELAY), stepOf(1e15)]).toEqual([STEPS - 1, STEPS - 1]);
  });

  it("hands out nothing early, and nothing late by more than a hop costs, whatever the delay", () => {
    const random = seededRandom(7);
    for (let n = 0; n < 2_000; n++) {
      const began = 1_767_225_600_000;
      const due = began + Math.ceil(random.unit() ** 4 * LONGEST_DELAY);
      let [now, hops, cost] = [began, 0, 0];
      let step = stepOf(due - now);
      do {
        const at = leavesAt(step, now, due);
        // What it takes to be read, sent and appended again.
        const hop = Math.floor(random.unit() * 40);
        now = Math.max(now, at) + hop;
        cost += hop;
        hops++;
        if (now < due) step = stepOf(due - now);
      } while (now < due);
      expect(now - due).toBeLessThanOrEqual(Math.max(cost, STEP_MS));
      expect(hops).toBeLessThanOrEqual(STEPS + 1);
    }
  });

  it("lets the oldest of a step leave first, but for less than the lowest step's time", () => {
    const random = seededRandom(3);
    for (const step of [0, 1, 5, 20]) {
      let latest = 0;
      for (let at = 0; at < 20_000; at += 7) {
        const due = at + STEP_MS * 2 ** step * (1 + random.unit());
        const leaves = leavesAt(step, at, due);
        expect(leaves).toBeGreaterThan(latest - STEP_MS);
        latest = Math.max(latest, leaves);
      }
    }
  });
});

describe("when a message is due", () => {
  it("follows from the broker's time of the first record, and stays when it goes on", () => {
    expect(dueOf(1_000, { [DELAY]: "500" })).toBe(1_500);
    expect(dueOf(9_000, { [DUE]: "1500" })).toBe(1_500);
  });

  it("is now where somebody else put it there, or wrote what no Tally writes", () => {
    for (const headers of [{}, { [DELAY]: "-1" }, { [DELAY]: "1e9" }, { [DUE]: "" }])
      expect(dueOf(1_000, headers)).toBe(1_000);
    expect(dueOf(1_000, { [DELAY]: "999999999999999" })).toBe(1_000 + LONGEST_DELAY);
  });
});
