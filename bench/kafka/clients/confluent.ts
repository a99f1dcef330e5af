import { createRequire } from "node:module";
import type { Client } from "../../clients/task.ts";
import type { KafkaTask } from "../task.ts";
import { caller } from "./calls.ts";

interface Library {
  readonly KafkaJS: {
    readonly Kafka: new (options: object) => {
      producer(options: object): {
        connect(): Promise<void>;
        send(batch: { topic: string; messages: object[] }): Promise<unknown>;
        disconnect(): Promise<void>;
      };
    };
    readonly logLevel: { readonly NOTHING: number };
  };
}

/**
 * @confluentinc/kafka-javascript: the C library, librdkafka, with the interface of kafkajs. It has a native part that npm
 * fetches or compiles, so that it is no dependency of this house: it is measured where `TALLY_CONFLUENT` says where it is.
 */
export function confluentAt(): string | null {
  return process.env["TALLY_CONFLUENT"] ?? null;
}

/** Idempotent, `linger.ms` 5 as is its own default, and what is queued without a bound by time. */
export async function confluent(task: KafkaTask): Promise<Client> {
  const at = confluentAt();
  if (at === null) throw new Error("TALLY_CONFLUENT names no @confluentinc/kafka-javascript");
  const { KafkaJS } = createRequire(import.meta.url)(at) as Library;
  const kafka = new KafkaJS.Kafka({
    kafkaJS: { brokers: [...task.brokers], clientId: "bench", logLevel: KafkaJS.logLevel.NOTHING },
  });
  const producer = kafka.producer({ kafkaJS: { idempotent: true, acks: -1 } });
  await producer.connect();
  return caller(
    task,
    (messages) => producer.send({ topic: task.topic, messages }),
    () => producer.disconnect(),
  );
}
