/**
 * @cloudamqp/amqp-client (https://github.com/cloudamqp/amqp-client.js, README "High-level API (recommended)" and
 * "Reconnection options"): an `AMQPSession`, which connects again, and a queue's `publish()`, which waits for the confirm.
 */
import { AMQPSession } from "@cloudamqp/amqp-client";
import type { OpenPublisher } from "../client.ts";

export const cloudamqp: OpenPublisher = async ({ url, queue, queueType }) => {
  const session = await AMQPSession.connect(url, { reconnectInterval: 200, maxReconnectInterval: 5_000 });
  const handle = await session.queue(queue, { durable: true, arguments: { "x-queue-type": queueType } });
  return {
    publish: (id, body) => handle.publish(body, { deliveryMode: 2, messageId: id }),
    [Symbol.asyncDispose]: () => session.stop(),
  };
};
