import { startRabbit } from "../integration-tests/brokers/index.ts";
import { type Figures, play, type Settings } from "./play.ts";
import { RABBITMQ } from "./rabbitmq/cases.ts";
import { goalsOf } from "./rabbitmq/goals.ts";
import { onQueue } from "./rabbitmq/queues.ts";

/** Raw amqplib, Tally and the peers with the same settings, in alternating rounds of one run. */
export async function rabbitmq({ rounds, only }: Settings, say: (line: string) => void): Promise<Figures> {
  const cases = RABBITMQ.filter(({ name }) => only === null || name.includes(only));
  if (cases.length === 0) throw new Error(`no case is called ${only}: ${RABBITMQ.map(({ name }) => name).join(", ")}`);
  await using rabbit = await startRabbit({ progress: say });
  const { rounds: measured, ...figures } = await play(rounds, say, cases, onQueue(rabbit.url));
  return { ...figures, goals: goalsOf(measured) };
}
