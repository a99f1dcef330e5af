/**
 * rocketmq-client-nodejs (https://github.com/apache/rocketmq-clients/tree/master/nodejs, README "Normal Message"): its own
 * three attempts, everything else by default but the logger: its own writes into the home folder.
 *
 * What its README leaves to the application is left out: a send that fails is not made again.
 */
import { Producer, type ProducerOptions } from "rocketmq-client-nodejs";
import type { OpenPublisher } from "../client.ts";

const silent = (): void => {};

export async function openProducer(endpoints: string, more: Partial<ProducerOptions> = {}): Promise<Producer> {
  const logger = { debug: silent, info: silent, warn: silent, error: silent };
  const producer = new Producer({ endpoints, namespace: "", logger, ...more });
  await producer.startup();
  return producer;
}

export const rocketmqClient: OpenPublisher = async ({ url, queue }) => {
  const producer = await openProducer(url);
  return {
    publish: (_id, body) => producer.send({ topic: queue, body }),
    [Symbol.asyncDispose]: () => producer.shutdown(),
  };
};
