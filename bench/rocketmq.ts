import { startRocket } from "../integration-tests/brokers/index.ts";
import { chosen, type Figures, play, type Settings } from "./play.ts";
import { ROCKETMQ } from "./rocketmq/cases.ts";
import { goalsOf } from "./rocketmq/goals.ts";
import { onTopic } from "./rocketmq/topics.ts";

/** The raw client and Tally, on one broker that flushes before it answers, in alternating rounds of one run. */
export async function rocketmq({ rounds, only }: Settings, say: (line: string) => void): Promise<Figures> {
  const cases = chosen(ROCKETMQ, only);
  await using node = await startRocket({ progress: say, jit: "full" });
  const one = onTopic(node);
  // The broker's code is compiled as it is used, by whoever comes first.
  await play(
    1,
    (line) => say(`not counted: ${line}`),
    cases,
    (shape) => one(shape, -1),
  );
  const { rounds: measured, ...figures } = await play(rounds, say, cases, one);
  return { ...figures, goals: goalsOf(measured) };
}
