import type { Measure } from "../cases.ts";
import { median, ratios, type Rounds } from "../rounds.ts";
import { goal } from "../table.ts";
import type { KafkaClient } from "./task.ts";

interface Goal {
  readonly text: string;
  /** Tally's rate in this case … */
  readonly case: string;
  /** … over that of this client, in the same round. */
  readonly to: { readonly case: string; readonly client: KafkaClient };
  readonly least: number;
}

const GOALS: readonly Goal[] = [
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

/** Each goal of which both sides were measured, met or missed: medians of the rounds' ratios. */
export function goalsOf(measured: ReadonlyMap<string, Rounds>): readonly string[] {
  return GOALS.flatMap(({ text, case: name, to, least }) => {
    const ours: readonly Measure[] = measured.get(name)?.get("tally") ?? [];
    const theirs: readonly Measure[] = measured.get(to.case)?.get(to.client) ?? [];
    if (ours.length === 0 || theirs.length === 0) return [];
    const ratio = median(ratios(ours, theirs, "rate"));
    return [goal(text, ratio, ratio >= least)];
  });
}
