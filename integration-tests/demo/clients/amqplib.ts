/**
 * Plain amqplib, as it is commonly put to use; not a strawman:
 *
 * - from its README: `connect`, `createChannel`, `assertQueue`, `sendToQueue`, `consume` with `ack`, an `error`
 *   listener on connection and channel;
 * - better than its README: the queue is a durable quorum queue, as Tally's is, messages are persistent, the channel's
 *   `drain` is waited for, and the delivery is acked only after the handler's effect (the README acks at once);
 * - what everybody adds: a loop that connects again, since the plain `connect` does not. (The README's own `recovery`
 *   option ended the process with an unhandled ECONNRESET when it was tried under these faults.) A publish that throws,
 *   or that finds no connection, waits for the next one and is made again, so that no order is given up. A publisher that
 *   was killed publishes again what its own log does not show as published.
 *
 * What is missing is what the README's example does not have either: publisher confirms, and a memory of what was handled.
 * `sendToQueue` returns when the bytes are in the socket's buffer, the application takes that for success, and whatever was
 * on its way when the connection broke is gone; a delivery that comes twice is billed twice. amqplib offers confirm channels;
 * with them resending, ids, order, timeouts and errors become the application's work, and so does whatever makes effects once.
 */
import { setTimeout as sleep } from "node:timers/promises";
import { connect, type Channel, type ChannelModel } from "amqplib";
import type { Endpoint } from "../../workload/endpoint.ts";
import type { Order } from "../../workload/order.ts";
import { TOPIC } from "../workload/job.ts";
import type { Client, Handle, Notes } from "./client.ts";

const AGAIN_MS = 200;
const HANDSHAKE_MS = 5_000;

export const amqplib: Client = {
  brokers: ["rabbitmq"],
  awaitsAnswer: false,
  countsResends: false,

  async publisher({ endpoint }, notes) {
    const link = new Link(endpoint, notes, async () => {});
    await link.channel();
    return {
      async publish(order) {
        for (;;) {
          const channel = await link.channel();
          try {
            const content = Buffer.from(JSON.stringify(order));
            const room = channel.sendToQueue(TOPIC, content, {
              persistent: true,
              messageId: order.id,
              contentType: "application/json",
            });
            if (!room) await link.drained(channel);
            return null;
          } catch {
            await sleep(AGAIN_MS); // the channel closed under us, and the loop is connecting
          }
        }
      },
      [Symbol.asyncDispose]: () => link.close(),
    };
  },

  async consumer({ endpoint }, handle, notes) {
    const running = new Set<Promise<void>>();
    const link = new Link(endpoint, notes, async (channel) => {
      await channel.prefetch(100);
      await channel.consume(TOPIC, (message) => {
        if (message === null) return; // cancelled by the broker; the connection's end follows in these runs
        const order = JSON.parse(message.content.toString()) as Order;
        const run = handled(
          handle,
          order,
          () => channel.ack(message),
          () => channel.nack(message),
        ).finally(() => running.delete(run));
        running.add(run);
      });
    });
    await link.channel();
    return {
      async [Symbol.asyncDispose]() {
        await Promise.all(running);
        await link.close();
      },
    };
  },
};

async function handled(handle: Handle, order: Order, ack: () => void, nack: () => void): Promise<void> {
  try {
    await handle(order, null, null);
    ack();
  } catch {
    try {
      nack();
    } catch {
      // The channel is gone, and the broker delivers again.
    }
  }
}

/** Keeps a channel: connects, sets up, and does so again when the connection has closed. */
class Link {
  readonly #url: string;
  readonly #notes: Notes;
  readonly #setUp: (channel: Channel) => Promise<void>;
  #connection: ChannelModel | null = null;
  #channel: Promise<Channel>;
  #closing = false;

  constructor(endpoint: Endpoint, notes: Notes, setUp: (channel: Channel) => Promise<void>) {
    if (endpoint.broker !== "rabbitmq") throw new Error("amqplib speaks to RabbitMQ only");
    this.#url = endpoint.url;
    this.#notes = notes;
    this.#setUp = setUp;
    this.#channel = this.#connect();
  }

  channel(): Promise<Channel> {
    return this.#channel;
  }

  /** The channel has room again, or is gone. */
  drained(channel: Channel): Promise<void> {
    return new Promise((resolve) => {
      channel.once("drain", () => resolve());
      channel.once("close", () => resolve());
      this.#connection?.once("close", () => resolve());
    });
  }

  async close(): Promise<void> {
    this.#closing = true;
    await (await this.#channel).close().catch(() => {});
    await this.#connection?.close().catch(() => {});
  }

  async #connect(): Promise<Channel> {
    for (;;) {
      let connection: ChannelModel | null = null;
      let [closed, inUse] = [false, false];
      try {
        // Without a limit the handshake with a broker that is just starting may be waited for without an end.
        connection = await connect(this.#url, { timeout: HANDSHAKE_MS });
        connection.on("error", () => this.#notes.line({ op: "surfaced", kind: "connection-error" }));
        connection.on("close", () => {
          closed = true;
          if (inUse && !this.#closing) this.#channel = this.#connect();
        });
        const channel = await connection.createChannel();
        channel.on("error", () => this.#notes.line({ op: "surfaced", kind: "channel-error" }));
        await channel.assertQueue(TOPIC, { durable: true, arguments: { "x-queue-type": "quorum" } });
        await this.#setUp(channel);
        if (closed) throw new Error("closed while it was set up");
        inUse = true;
        this.#connection = connection;
        return channel;
      } catch {
        this.#notes.line({ op: "surfaced", kind: "connect-failed" });
        void connection?.close().catch(() => {});
        await sleep(AGAIN_MS);
      }
    }
  }
}
