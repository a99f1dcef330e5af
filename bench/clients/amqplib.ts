import { type Channel, connect } from "amqplib";
import type { Task } from "../cases.ts";
import { Arrivals } from "./arrivals.ts";
import { bodyOf } from "./publish-window.ts";
import type { Client } from "./task.ts";

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

/** Class 90 of AMQP's methods. The driver has no call for them, and its channel sends any method by number. */
const TX = { select: [0x5a_000a, 0x5a_000b], commit: [0x5a_0014, 0x5a_0015] } as const;
type Raw = Channel & { rpc(method: number, fields: object, expect: number): Promise<unknown> };

/** A transaction after the other, each with as many messages as the task says; its commit is the confirm. */
export async function amqplibTransactions({ broker, bytes, tx = 1 }: Task): Promise<Client> {
  if (broker === null) throw new Error("amqplib needs a broker");
  const connection = await connect(broker.url, { noDelay: true });
  const channel = (await connection.createChannel()) as Raw;
  await channel.rpc(TX.select[0], {}, TX.select[1]);
  const body = Buffer.from(bodyOf(bytes));
  return {
    async run(from, messages) {
      let sent = 0;
      while (sent < messages) {
        for (const end = Math.min(sent + tx, messages); sent < end; sent++)
          channel.sendToQueue(broker.queue, body, { persistent: true, messageId: `order-${from + sent}` });
        await channel.rpc(TX.commit[0], {}, TX.commit[1]);
      }
      return sent;
    },
    async close() {
      await channel.close();
      await connection.close();
    },
  };
}

/** Acks each delivery by itself, as its manual shows it. Without `noDelay`, which makes single acks dearer and slower. */
export async function amqplibConsumer({ broker, window }: Task): Promise<Client> {
  if (broker === null) throw new Error("amqplib needs a broker");
  const connection = await connect(broker.url);
  const channel = await connection.createChannel();
  const arrivals = new Arrivals();
  await channel.prefetch(window);
  return {
    async run(_from, messages) {
      if (arrivals.first) {
        await channel.consume(broker.queue, (message) => {
          if (message === null) return;
          channel.ack(message);
          arrivals.one();
        });
      }
      return await arrivals.more(messages);
    },
    async close() {
      await channel.close();
      await connection.close();
    },
  };
}
