/**
 * rascal (https://github.com/onebeyond/rascal, README "Configuration", "Publications", "Very Important Section About Event
 * Handling", "Channel pooling"): its defaults, which confirm, persist, connect again and hold publishes meanwhile; a message
 * is published at `success`. Its pool is larger than the default of 5, since each channel has one message on its way.
 */
import rascal from "rascal";
import type { OpenPublisher } from "../client.ts";

const CHANNELS = 50;

export const rascalPublisher: OpenPublisher = async ({ url, queue, queueType }) => {
  const broker = await rascal.BrokerAsPromised.create(
    rascal.withDefaultConfig({
      vhosts: {
        "/": {
          connection: { url, socketOptions: { noDelay: true } },
          publicationChannelPools: { confirmPool: { max: CHANNELS, min: 1, autostart: true } },
          queues: { [queue]: { options: { durable: true, arguments: { "x-queue-type": queueType } } } },
        },
      },
      publications: { out: { vhost: "/", queue, confirm: true } },
    }),
  );
  broker.on("error", () => {});
  return {
    async publish(id, body) {
      const publication = await broker.publish("out", body, { options: { messageId: id } });
      const { promise, resolve, reject } = Promise.withResolvers<void>();
      publication
        .on("success", resolve)
        .on("error", reject)
        .on("return", () => reject(new Error("returned")));
      return await promise;
    },
    [Symbol.asyncDispose]: () => broker.shutdown(),
  };
};
