import { Kafka, logLevel, Partitioners } from "kafkajs";
import { until } from "../../integration-tests/brokers/engine/wait.ts";
import type { Measure } from "../cases.ts";
import { measure } from "../rounds.ts";
import type { KafkaShape } from "./cases.ts";
import { keyOf, PARTITIONS } from "./task.ts";

const CLIENT = new URL("client.ts", import.meta.url);
const AT_ONCE = 2_000;

/** Plays a task on a cluster, each time on a topic of its own. For a consumer it is filled before. */
export function onTopic(
  brokers: readonly string[],
  replicas: number,
): (shape: KafkaShape, round: number) => Promise<Measure> {
  const kafka = new Kafka({ brokers: [...brokers], logLevel: logLevel.NOTHING });
  return async (shape, round) => {
    const topic = `bench-${round}-${shape.case}-${shape.client}`;
    const admin = kafka.admin();
    await admin.connect();
    try {
      await admin.createTopics({
        topics: [{ topic, numPartitions: PARTITIONS, replicationFactor: replicas }],
        // It gives up where a node has not heard of it yet.
        waitForLeaders: false,
      });
      await until(`all replicas of ${topic}`, 30_000, async () => {
        const { topics } = await admin.fetchTopicMetadata({ topics: [topic] });
        const partitions = topics[0]?.partitions ?? [];
        return partitions.length === PARTITIONS && partitions.every(({ isr }) => isr.length === replicas);
      });
      if (shape.verb === "consume") await fill(kafka, topic, shape);
      return await measure({ ...shape, brokers, topic }, CLIENT);
    } finally {
      await admin.deleteTopics({ topics: [topic] });
      await admin.disconnect();
    }
  };
}

async function fill(kafka: Kafka, topic: string, { warmup, messages, bytes }: KafkaShape): Promise<void> {
  const producer = kafka.producer({ createPartitioner: Partitioners.DefaultPartitioner });
  await producer.connect();
  const value = Buffer.alloc(bytes, "x");
  for (let from = 0; from < warmup + messages; from += AT_ONCE)
    await producer.send({
      topic,
      messages: Array.from({ length: Math.min(AT_ONCE, warmup + messages - from) }, (_, n) => ({
        key: keyOf(from + n),
        value,
      })),
    });
  await producer.disconnect();
}
