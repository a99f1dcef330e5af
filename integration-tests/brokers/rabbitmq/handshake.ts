import { connect, type ChannelModel } from "amqplib";
import { until } from "../engine/wait.ts";

/** A connection of our own for admin work: an error listener always, since amqplib throws without one. */
export async function open(url: string): Promise<ChannelModel> {
  const connection = await connect(url, { noDelay: true, timeout: 5_000 });
  connection.on("error", () => {});
  return connection;
}

/** Resolves when the broker has opened a connection and a channel: the only proof that it serves. */
export async function handshake(url: string, within: number): Promise<void> {
  await until("an AMQP handshake", within, async () => {
    const connection = await open(url);
    await connection.createChannel();
    await connection.close();
    return true;
  });
}
