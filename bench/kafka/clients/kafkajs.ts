import { setTimeout as sleep } from "node:timers/promises";
import { Kafka, logLevel, Partitioners } from "kafkajs";
import { Arrivals } from "../../clients/arrivals.ts";
import type { Client } from "../../clients/task.ts";
import type { KafkaTask } from "../task.ts";
import { caller } from "./calls.ts";

/** kafkajs, idempotent as Tally's own is, or as its manual shows it; acks of all replicas in both. */
export async function kafkaJs(task: KafkaTask): Promise<Client> {
  const producer = clientOf(task).producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    ...(task.client === "kafkajs" ? { idempotent: true } : {}),
  });
  await producer.connect();
  return caller(
    task,
    (messages) => producer.send({ topic: task.topic, messages, acks: -1 }),
    () => producer.disconnect(),
  );
}

/** `eachMessage`, as its manual shows it. */
export async function kafkaJsConsumer(task: KafkaTask): Promise<Client> {
  const { topic, handler } = task;
  const consumer = clientOf(task).consumer({ groupId: `${topic}-group` });
  await consumer.connect();
  await consumer.subscribe({ topics: [topic], fromBeginning: true });
  const arrivals = new Arrivals();
  return {
    async run(_from, messages) {
      if (arrivals.first)
        await consumer.run({
          eachMessage: async () => {
            if (handler > 0) await sleep(handler);
            arrivals.one();
          },
        });
      return await arrivals.more(messages);
    },
    close: () => consumer.disconnect(),
  };
}

function clientOf({ brokers }: KafkaTask): Kafka {
  return new Kafka({ brokers: [...brokers], clientId: "bench", logLevel: logLevel.NOTHING });
}
