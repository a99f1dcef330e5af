import { describe, expect, test } from "vitest";
import { SettledPrefix } from "../../src/consume/settlement.ts";

describe("the settled prefix", () => {
  test("ends before the first place that is not settled, and knows what is settled beyond", () => {
    const prefix = new SettledPrefix(5);
    expect(prefix.end).toBe(4);
    expect(prefix.settle(7)).toBe(true);
    expect(prefix.settle(6)).toBe(true);
    expect([prefix.end, [...prefix.beyond].toSorted()]).toEqual([4, [6, 7]]);
    expect(prefix.settle(5)).toBe(true);
    expect([prefix.end, prefix.beyond.size]).toEqual([7, 0]);
    for (const again of [4, 5, 7]) expect(prefix.settle(again)).toBe(false);
  });
});
