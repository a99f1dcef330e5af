import { type RateGoal, ratesOf } from "../goals.ts";
import type { Rounds } from "../rounds.ts";
import type { RocketClient } from "./task.ts";

const GOALS: readonly RateGoal<RocketClient>[] = [
  {
    text: "1,000 callers: at least 8× the raw client",
    case: "256-window",
    to: { case: "256-window", client: "rocketmq-client-nodejs" },
    least: 8,
  },
  {
    text: "awaited one by one: at least 0.95× the raw client",
    case: "256-awaited",
    to: { case: "256-awaited", client: "rocketmq-client-nodejs" },
    least: 0.95,
  },
];

export function goalsOf(measured: ReadonlyMap<string, Rounds>): readonly string[] {
  return ratesOf(GOALS, measured);
}
