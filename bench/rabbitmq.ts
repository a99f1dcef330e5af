import { startRabbit } from "../integration-tests/brokers/index.ts";
import { chosen, type Figures, play, type Settings } from "./play.ts";
import { RABBITMQ } from "./rabbitmq/cases.ts";
import { goalsOf } from "./rabbitmq/goals.ts";
import { onQueue } from "./rabbitmq/queues.ts";

/** Raw amqplib, Tally and the peers with the same settings, in alternating rounds of one run. */
export async function rabbitmq({ rounds, only }: Settings, say: (line: string) => void): Promise<Figures> {
  const cases = chosen(RABBITMQ, only);
  await using rabbit = await startRabbit({ progress: say });
  const { rounds: measured, ...figures } = await play(rounds, say, cases, onQueue(rabbit.url));
  return { ...figures, goals: goalsOf(measured) };
}
