import { Producer } from "@platformatic/kafka";
import type { Client } from "../../clients/task.ts";
import type { KafkaTask } from "../task.ts";
import { caller } from "./calls.ts";

/** @platformatic/kafka, idempotent. */
export function platformatic(task: KafkaTask): Promise<Client> {
  const { brokers, topic } = task;
  const producer = new Producer({
    clientId: "bench",
    bootstrapBrokers: [...brokers],
    idempotent: true,
    autocreateTopics: false,
  });
  return Promise.resolve(
    caller(
      task,
      (records) =>
        producer.send({
          messages: records.map(({ key, value }) => ({ topic, key: Buffer.from(key), value })),
          acks: -1,
        }),
      () => producer.close(),
    ),
  );
}
