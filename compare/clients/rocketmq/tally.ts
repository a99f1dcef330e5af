/** Tally as its README shows it: an outbox in a file, everything else by default. */
import { bytes, openTally, topic } from "@tallymq/core";
import { rocketmq } from "@tallymq/rocketmq";
import { sqlite } from "@tallymq/store-sqlite";
import type { OpenPublisher } from "../client.ts";

const orders = topic<Uint8Array>("orders", { codec: bytes });

export const tally: OpenPublisher = async ({ url, queue, outbox }) => {
  const shop = await openTally({
    service: "shop",
    broker: rocketmq({ endpoints: [url], topics: { orders: { topic: queue, declare: false } } }),
    topics: [orders],
    outbox: sqlite(outbox),
  });
  return {
    publish: (id, body) => shop.publish(orders, body, { id }),
    [Symbol.asyncDispose]: () => shop.close({ within: "10s" }),
  };
};
