/**
 * kafkajs (https://kafka.js.org, "Producing Messages", "Configuration"): its own retries and time-outs, acks of all in-sync
 * replicas, as is its default; plain, and with `idempotent: true`.
 *
 * What its documentation leaves to the application is left out: a send that fails is not made again.
 */
import { Kafka, logLevel, Partitioners } from "kafkajs";
import { inCalls } from "./calls.ts";
import type { KafkaPlace, OpenKafka } from "./client.ts";

export const plain: OpenKafka = (place) => open(place, false);
export const idempotent: OpenKafka = (place) => open(place, true);

async function open({ brokers, topic, call }: KafkaPlace, safe: boolean): ReturnType<OpenKafka> {
  const producer = new Kafka({ brokers: [...brokers], clientId: "shop", logLevel: logLevel.NOTHING }).producer({
    createPartitioner: Partitioners.DefaultPartitioner,
    ...(safe ? { idempotent: true } : {}),
  });
  await producer.connect();
  return inCalls(
    call,
    (records) => producer.send({ topic, messages: records.map(({ key, value }) => ({ key, value })), acks: -1 }),
    () => producer.disconnect(),
  );
}
