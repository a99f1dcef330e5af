import type { Channel } from "amqplib";
import { type MembersPort, raced } from "@tallymq/core/spi";
import { classify } from "./errors.ts";
import type { SharedConnection } from "./shared.ts";

/**
 * Members of a group, as they show themselves to each other. AMQP lists no consumers; so each member has an exclusive
 * queue on a fanout of the group, says `hello` into it, and whoever hears that answers the newcomer alone. Both go with
 * the last member.
 *
 * On the publishing connection: one that publishes is not read while the broker has an alarm, and acks must be.
 */
export class RabbitMembers implements MembersPort {
  readonly #connection: SharedConnection;
  readonly #queueOf: (topic: string, group: string) => string;

  constructor(connection: SharedConnection, queueOf: (topic: string, group: string) => string) {
    this.#connection = connection;
    this.#queueOf = queueOf;
  }

  async join(
    topic: string,
    group: string,
    card: string,
    seen: (card: string) => void,
    signal: AbortSignal,
  ): Promise<AsyncDisposable> {
    const connection = await this.#connection.get(signal);
    const channel = await connection.channel(signal);
    try {
      await raced(show(channel.raw, `tally.members.${this.#queueOf(topic, group)}`, card, seen), signal);
    } catch (thrown) {
      void channel.close();
      throw signal.aborted ? signal.reason : classify(thrown, connection.where, "opening");
    }
    return { [Symbol.asyncDispose]: () => channel.close() };
  }
}

async function show(raw: Channel, exchange: string, card: string, seen: (card: string) => void): Promise<void> {
  await raw.assertExchange(exchange, "fanout", { durable: false, autoDelete: true });
  // A member that does not look at its queue must not fill the broker.
  const { queue } = await raw.assertQueue("", { exclusive: true, autoDelete: true, durable: false, maxLength: 1_000 });
  await raw.bindQueue(queue, exchange, "");
  const say = (to: string, key: string, type: "hello" | "here"): void =>
    void raw.publish(to, key, Buffer.from(card), { type, messageId: queue, replyTo: queue, mandatory: false });
  await raw.consume(
    queue,
    (message) => {
      if (message === null || message.properties.messageId === queue) return;
      seen(message.content.toString("utf8", 0, 1_000));
      const { type, replyTo } = message.properties as { readonly type?: unknown; readonly replyTo?: unknown };
      if (type !== "hello" || typeof replyTo !== "string") return;
      try {
        say("", replyTo, "here");
      } catch {
        // The channel is closing: it has told everything that it will.
      }
    },
    { noAck: true },
  );
  say(exchange, "", "hello");
}
