/**
 * amqplib (https://github.com/amqp-node/amqplib, README "Promise/Async API example" and "Opt-in recovery"; API reference
 * "ConfirmChannel"): its own recovery, an `error` listener on connection and channel, a new channel on each new connection,
 * persistent messages. While there is no connection a publish waits for the next channel, as `createChannel()` does.
 *
 * What its README leaves to the application is left out: a publish that fails is not made again.
 */
import { type Channel, type ConfirmChannel, connect, type RecoveringChannelModel } from "amqplib";
import type { OpenPublisher, Place } from "../client.ts";

/** `createChannel()`: `sendToQueue` has no answer, so that a message counts as published when it did not throw. */
export const plain: OpenPublisher = async (place) => {
  const link = await connected(place, (connection) => connection.createChannel());
  return {
    async publish(id, body) {
      (await link.channel()).sendToQueue(place.queue, body, { persistent: true, messageId: id });
    },
    [Symbol.asyncDispose]: link.close,
  };
};

/** `createConfirmChannel()`: published is what the broker has confirmed. */
export const confirm: OpenPublisher = async (place) => {
  const link = await connected(place, (connection) => connection.createConfirmChannel());
  return {
    async publish(id, body) {
      const channel: ConfirmChannel = await link.channel();
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      channel.sendToQueue(place.queue, body, { persistent: true, messageId: id }, (error: Error | null) =>
        error === null ? resolve() : reject(error),
      );
      return await promise;
    },
    [Symbol.asyncDispose]: link.close,
  };
};

async function connected<C extends Channel>(
  { url, queue, queueType }: Place,
  create: (connection: RecoveringChannelModel) => Promise<C>,
): Promise<{ channel(): Promise<C>; close(): Promise<void> }> {
  const connection = await connect(url, { noDelay: true, recovery: { initialDelay: 200, maxDelay: 5_000 } });
  connection.on("error", () => {});
  const open = (): Promise<C> => {
    const opening = create(connection).then(async (channel) => {
      channel.on("error", () => {});
      await channel.assertQueue(queue, { durable: true, arguments: { "x-queue-type": queueType } });
      return channel;
    });
    // If the connection ends meanwhile, the next one makes the next channel; who publishes until then is told.
    opening.catch(() => {});
    return opening;
  };
  let channel = open();
  connection.on("disconnect", () => {
    channel = open();
  });
  await channel;
  return { channel: () => channel, close: () => connection.close() };
}
