/** Tally as its README shows it: an outbox in a file, everything else by default. */
import { bytes, openTally, topic as named } from "@tallymq/core";
import { kafka } from "@tallymq/kafka";
import { sqlite } from "@tallymq/store-sqlite";
import type { OpenKafka } from "./client.ts";

const orders = named<Uint8Array>("orders", { codec: bytes });

export const tally: OpenKafka = async ({ brokers, topic, outbox }) => {
  const shop = await openTally({
    service: "shop",
    broker: kafka({ brokers, topics: { orders: { topic, declare: false } } }),
    topics: [orders],
    outbox: sqlite(outbox),
  });
  return {
    publish: ({ id, key, value }) => shop.publish(orders, value, { id, ...(key === null ? {} : { key }) }),
    [Symbol.asyncDispose]: () => shop.close({ within: "10s" }),
  };
};
