import type { Measure } from "../cases.ts";
import { median, ratios, type Rounds } from "../rounds.ts";
import { goal } from "../table.ts";

interface Goal {
  readonly case: string;
  readonly figure: "rate" | "cpuMicros";
  readonly text: string;
  readonly holds: (ratio: number) => boolean;
}

const GOALS: readonly Goal[] = [
  {
    case: "quorum-256-window",
    figure: "rate",
    text: "rate at least 0.97× of amqplib's",
    holds: (ratio) => ratio >= 0.97,
  },
  {
    case: "quorum-256-window",
    figure: "cpuMicros",
    text: "client CPU at most 1.4× of amqplib's",
    holds: (ratio) => ratio <= 1.4,
  },
  {
    case: "quorum-256-awaited",
    figure: "rate",
    text: "rate at least 0.95× of amqplib's",
    holds: (ratio) => ratio >= 0.95,
  },
  {
    case: "consume-quorum-256",
    figure: "rate",
    text: "rate at least 1.5× of amqplib's, which acks one by one",
    holds: (ratio) => ratio >= 1.5,
  },
];

/** Each goal whose case was measured, met or missed: medians of Tally's figure ÷ amqplib's in the same round. */
export function goalsOf(measured: ReadonlyMap<string, Rounds>): readonly string[] {
  return GOALS.flatMap(({ case: name, figure, text, holds }) => {
    const of = (client: string): readonly Measure[] => measured.get(name)?.get(client) ?? [];
    if (of("tally").length === 0) return [];
    const ratio = median(ratios(of("tally"), of("amqplib"), figure));
    return [goal(`${name}: ${text}`, ratio, holds(ratio))];
  });
}
