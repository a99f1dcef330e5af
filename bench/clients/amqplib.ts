import { connect } from "amqplib";
import type { Task } from "../cases.ts";
import { bodyOf } from "./publish-window.ts";
import type { Client } from "./client.ts";

/** amqplib as its manual shows it: a confirm channel, a callback a message, persistent; `noDelay` as everyone should set it. */
export async function amqplib({
  broker,
  bytes,
}: Pick<Task, "bytes"> & {
  readonly broker: Pick<NonNullable<Task["broker"]>, "url" | "queue"> | null;
}): Promise<Client> {
  if (broker === null) throw new Error("amqplib needs a broker");
  const connection = await connect(broker.url, { noDelay: true });
  const channel = await connection.createConfirmChannel();
  const body = Buffer.from(bodyOf(bytes));
  const { queue } = broker;
  return {
    // Callbacks, not a promise a message: the raw client is measured at its best.
    async run(from, messages, window) {
      if (messages === 0) return 0;
      const { promise, resolve, reject } = Promise.withResolvers<number>();
      let sent = 0;
      let confirmed = 0;
      const confirm = (error: unknown): void => {
        if (error !== null && error !== undefined) return reject(error);
        confirmed++;
        if (sent < messages) publish();
        else if (confirmed === messages) resolve(confirmed);
      };
      const publish = (): void => {
        channel.sendToQueue(queue, body, { persistent: true, messageId: `order-${from + sent++}` }, confirm);
      };
      for (let i = 0; i < Math.min(window, messages); i++) publish();
      return await promise;
    },
    async close() {
      await channel.close();
      await connection.close();
    },
  };
}
