/**
 * amqp-connection-manager (https://github.com/jwalton/node-amqp-connection-manager, README "Basics"): a `ChannelWrapper`
 * with its `setup`, which confirms, queues while there is no connection, and sends again what was not confirmed when one broke.
 */
import { connect } from "amqp-connection-manager";
import type { ConfirmChannel } from "amqplib";
import type { OpenPublisher, Place, Publisher } from "../client.ts";

/** As the README's example has it: no publish options, so messages are not persistent. */
export const asInReadme: OpenPublisher = (place) => open(place, {});

/** The same with `persistent`, which amqplib's `sendToQueue` takes. */
export const persistent: OpenPublisher = (place) => open(place, { persistent: true });

async function open({ url, queue, queueType }: Place, options: { readonly persistent?: true }): Promise<Publisher> {
  const connection = connect([url], { connectionOptions: { noDelay: true } });
  const channel = connection.createChannel({
    setup: async (raw: ConfirmChannel) => {
      await raw.assertQueue(queue, { durable: true, arguments: { "x-queue-type": queueType } });
    },
  });
  channel.on("error", () => {});
  await channel.waitForConnect();
  return {
    publish: (id, body) => channel.sendToQueue(queue, body, { ...options, messageId: id }),
    async [Symbol.asyncDispose]() {
      await channel.close();
      await connection.close();
    },
  };
}
