import { type RateGoal, ratesOf } from "../goals.ts";
import type { Rounds } from "../rounds.ts";
import type { KafkaClient } from "./task.ts";

const GOALS: readonly RateGoal<KafkaClient>[] = [
  {
    text: "1,000 callers: at least 40× kafkajs' concurrent single sends",
    case: "256-window",
    to: { case: "256-window", client: "kafkajs" },
    least: 40,
  },
  {
    text: "1,000 callers: at least 1.5× kafkajs' own calls of 100",
    case: "256-window",
    to: { case: "256-calls-100", client: "kafkajs" },
    least: 1.5,
  },
  {
    text: "1,000 callers: ahead of the C library with as many",
    case: "256-window",
    to: { case: "256-window", client: "confluent" },
    least: 1,
  },
  {
    text: "lanes by key, a handler of 10 ms: at least 20× kafkajs' eachMessage",
    case: "consume-10ms",
    to: { case: "consume-10ms", client: "kafkajs" },
    least: 20,
  },
];

export function goalsOf(measured: ReadonlyMap<string, Rounds>): readonly string[] {
  return ratesOf(GOALS, measured);
}
