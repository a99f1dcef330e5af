/**
 * rabbitmq-client (https://github.com/cody-greene/node-rabbitmq-client, README "Quick start"): a `Publisher` with `confirm`,
 * which connects again and, with `maxAttempts`, publishes again. The example has 2 attempts; here they are as many as any
 * outage of this run could need.
 */
import { Connection } from "rabbitmq-client";
import type { OpenPublisher } from "../client.ts";

const ATTEMPTS = 20;

export const rabbitmqClient: OpenPublisher = async ({ url, queue, queueType }) => {
  const connection = new Connection({ url, noDelay: true });
  connection.on("error", () => {});
  const publisher = connection.createPublisher({
    confirm: true,
    maxAttempts: ATTEMPTS,
    queues: [{ queue, durable: true, arguments: queueType === null ? {} : { "x-queue-type": queueType } }],
  });
  await connection.onConnect();
  return {
    publish: (id, body) => publisher.send({ routingKey: queue, durable: true, messageId: id }, body),
    async [Symbol.asyncDispose]() {
      await publisher.close();
      await connection.close();
    },
  };
};
