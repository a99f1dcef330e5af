import { startRabbit } from "../integration-tests/brokers/index.ts";
import { CORE } from "./cases.ts";
import { type Figures, play, type Settings } from "./play.ts";
import { onQueue, type QueueTask } from "./rabbitmq/queues.ts";
import { median, ratios } from "./rounds.ts";
import { goal } from "./table.ts";

/** CPU a message of the policy layer alone, beside the raw client's own publishing, in alternating rounds. */
export async function core({ rounds }: Settings, say: (line: string) => void): Promise<Figures> {
  await using rabbit = await startRabbit({ progress: say });
  const { queueType, ...raw } = CORE.raw;
  const { rounds: measured, ...figures } = await play<QueueTask>(
    rounds,
    say,
    [
      { name: raw.case, raw: null, tasks: [{ ...raw, client: "amqplib", queueType }] },
      ...CORE.layer.map((task) => ({
        name: task.case,
        raw: null,
        tasks: [{ ...task, client: "tally" as const, queueType: null }],
      })),
    ],
    onQueue(rabbit.url),
  );
  const layer = measured.get("core-256-bytes")?.get("tally") ?? [];
  const amqplib = measured.get(raw.case)?.get("amqplib") ?? [];
  const share = median(ratios(layer, amqplib, "cpuMicros"));
  return { ...figures, goals: [goal("the layer's CPU at most 0.4× of amqplib's own", share, share <= 0.4)] };
}
