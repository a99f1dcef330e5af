import { kafka } from "@tallymq/kafka";
import type { Rig } from "@tallymq/testkit/conformance";
import { Kafka, logLevel } from "kafkajs";
import type { KafkaNode } from "../brokers/index.ts";

/** One Kafka node behind a proxy, with everything that can be done to it. */
export function kafkaRig(node: KafkaNode): Rig {
  let names = 0;
  return {
    name: "kafka()",
    broker: () => kafka({ brokers: [node.proxied], heartbeat: "200ms", fetchWait: "50ms", partitions: 3 }),
    topic: (stem) => `${stem}-${++names}`,
    limitMs: 30_000,
    quietMs: 300,
    fetch: 0,
    // The client connects anew within the session, and repeats what had no answer under its sequence number.
    endsWithConnection: false,
    kill: { begin: () => node.kill(), end: () => node.start() },
    cut: async () => void node.proxy.cut(),
    // What clients send arrives, what the broker answers does not.
    pause: { begin: async () => node.proxy.halfOpen("broker"), end: () => node.proxy.heal() },
    block: null,
    nack: null,
    foreign: (topic, body) => foreign(node.direct, topic, body),
  };
}

/** As a program that has never heard of Tally would do it. */
async function foreign(broker: string, topic: string, body: Uint8Array): Promise<void> {
  const producer = new Kafka({ brokers: [broker], logLevel: logLevel.NOTHING }).producer();
  await producer.connect();
  await producer.send({ topic, messages: [{ value: Buffer.from(body) }] });
  await producer.disconnect();
}
