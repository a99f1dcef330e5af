import { expect, it } from "vitest";
import type { Measure } from "../cases.ts";
import { ROCKETMQ } from "../rocketmq/cases.ts";
import { goalsOf } from "../rocketmq/goals.ts";

const RAW = "rocketmq-client-nodejs";

it("the cases of the RocketMQ bench are two sizes, awaited, and 100 and 1,000 callers of either client", () => {
  expect(ROCKETMQ.map(({ name, tasks }) => [name, ...tasks.map(({ window }) => window)])).toEqual(
    [256, 4096].flatMap((bytes) => [
      [`${bytes}-awaited`, 1, 1],
      [`${bytes}-window-100`, 100, 100],
      [`${bytes}-window`, 1_000, 1_000],
    ]),
  );
  for (const { raw, tasks } of ROCKETMQ) {
    expect(raw).toBe(RAW);
    expect(tasks.map(({ client }) => client)).toEqual([RAW, "tally"]);
    expect(tasks.every(({ warmup, messages }) => Number.isInteger(warmup) && Number.isInteger(messages))).toBe(true);
  }
});

it("its goals are met at their bounds, by the median of the rounds' ratios, and missed below", () => {
  const measured = (ours: readonly number[]): Map<string, Measure[]> => {
    const measures = (rates: readonly number[]): Measure[] =>
      rates.map((rate) => ({ rate, cpuMicros: 1, confirmed: 1 }));
    return new Map([
      [RAW, measures([10, 10, 10])],
      ["tally", measures(ours)],
    ]);
  };
  const ends = (window: readonly number[], awaited: readonly number[]): readonly string[] =>
    goalsOf(
      new Map([
        ["256-window", measured(window)],
        ["256-awaited", measured(awaited)],
      ]),
    ).map((line) => line.split(": ").at(-1) ?? "");
  expect(ends([10, 80, 900], [9.5, 1, 11])).toEqual(["8.00× (met)", "0.95× (met)"]);
  expect(ends([10, 79, 900], [9.4, 1, 11])).toEqual(["7.90× (missed)", "0.94× (missed)"]);
});
