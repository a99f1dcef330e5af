import { startKafkaCluster } from "../integration-tests/brokers/index.ts";
import { casesOf } from "./kafka/cases.ts";
import { confluentAt } from "./kafka/clients/confluent.ts";
import { goalsOf } from "./kafka/goals.ts";
import type { KafkaClient } from "./kafka/task.ts";
import { onTopic } from "./kafka/topics.ts";
import { chosen, type Figures, play, type Settings } from "./play.ts";

const REPLICAS = 3;
const CLIENTS: readonly KafkaClient[] = ["kafkajs", "kafkajs-defaults", "platformatic", "confluent", "tally"];

/** Raw kafkajs, two further clients and Tally on three nodes, acks of all replicas, in alternating rounds of one run. */
export async function kafka({ rounds, only }: Settings, say: (line: string) => void): Promise<Figures> {
  const at = confluentAt();
  if (at === null) say("without @confluentinc/kafka-javascript: TALLY_CONFLUENT says where it is installed");
  const here = CLIENTS.filter((client) => client !== "confluent" || at !== null);
  const cases = chosen(casesOf(here), only);
  await using cluster = await startKafkaCluster({ progress: say });
  const { rounds: measured, ...figures } = await play(rounds, say, cases, onTopic(cluster.direct, REPLICAS));
  return { ...figures, goals: goalsOf(measured) };
}
