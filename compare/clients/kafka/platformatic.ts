/** @platformatic/kafka (https://github.com/platformatic/kafka, README "Producer"): idempotent, everything else by default. */
import { Producer } from "@platformatic/kafka";
import { inCalls } from "./calls.ts";
import type { OpenKafka } from "./client.ts";

export const platformatic: OpenKafka = ({ brokers, topic, call }) => {
  const producer = new Producer({ clientId: "shop", bootstrapBrokers: [...brokers], idempotent: true });
  return Promise.resolve(
    inCalls(
      call,
      (records) =>
        producer.send({
          messages: records.map(({ key, value }) => ({
            topic,
            ...(key === null ? {} : { key: Buffer.from(key) }),
            value,
          })),
          acks: -1,
        }),
      () => producer.close(),
    ),
  );
};
