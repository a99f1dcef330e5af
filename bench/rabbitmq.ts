import { startRabbit } from "../integration-tests/brokers/index.ts";
import { RABBITMQ } from "./cases.ts";
import { type Figures, play, type Settings } from "./play.ts";
import { median, ratios } from "./rounds.ts";
import { goal } from "./table.ts";

/** Raw amqplib and Tally with the same settings, in alternating rounds of one run. */
export async function rabbitmq({ rounds, only }: Settings, say: (line: string) => void): Promise<Figures> {
  await using rabbit = await startRabbit({ progress: say });
  const { rounds: measured, ...figures } = await play(
    rounds,
    say,
    rabbit,
    RABBITMQ.filter(({ case: name }) => only === null || name.includes(only)).map(({ queueType, ...task }) => ({
      name: task.case,
      raw: task.tx === undefined ? "amqplib" : null,
      tasks: [
        ...(task.tx === undefined ? [{ ...task, client: "amqplib" as const, queueType }] : []),
        { ...task, client: "tally" as const, queueType },
      ],
    })),
  );
  const quorum = measured.get("quorum-256-window");
  const [raw, tally] = [quorum?.get("amqplib") ?? [], quorum?.get("tally") ?? []];
  const rate = median(ratios(tally, raw, "rate"));
  const cpu = median(ratios(tally, raw, "cpuMicros"));
  return {
    ...figures,
    goals: [
      goal("quorum-256-window: rate at least 0.97× of amqplib's", rate, rate >= 0.97),
      goal("quorum-256-window: client CPU at most 1.4× of amqplib's", cpu, cpu <= 1.4),
    ],
  };
}
