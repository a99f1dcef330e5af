import { utf8Length } from "@tallymq/core/spi";

/** What `publish(…, { native })` may set on RabbitMQ. */
export interface RabbitNative {
  /** In place of the topic's. At most 255 bytes. */
  readonly routingKey?: string;
  /** Of a topic that this tally declared. */
  readonly exchange?: string;
  /** 0–255. */
  readonly priority?: number;
  /** Milliseconds, 0–4294967295: a message that nobody took by then is a dead letter of its group; gone where its queue has none. */
  readonly expiration?: number | string;
  /** At most 255 bytes; not the broker's direct reply-to. */
  readonly replyTo?: string;
}

const KNOWN: readonly string[] = ["routingKey", "exchange", "priority", "expiration", "replyTo"];
// The broker's largest timer; one more and the publish ends the channel.
const LONGEST_EXPIRATION = 4_294_967_295;

/**
 * What is wrong with raw properties, or null. The broker answers each of these with the end of the channel, which would
 * take all that is in flight on it into doubt: one message's mistake must stay its own. `userId` is not offered: another
 * one than that of the connection ends the channel as well, and the same one says nothing.
 */
export function nativeFault(
  native: Readonly<Record<string, unknown>>,
  knowsExchange: (name: string) => boolean,
): string | null {
  const unknown = Object.keys(native).find((key) => !KNOWN.includes(key));
  if (unknown !== undefined)
    return `native has no property ${JSON.stringify(unknown.slice(0, 40))} on RabbitMQ; known are ${KNOWN.join(", ")}`;
  const { routingKey, exchange, priority, expiration, replyTo } = native as { [K in keyof RabbitNative]: unknown };
  if (!isShort(routingKey)) return "native.routingKey must be a string of at most 255 bytes";
  if (!isShort(replyTo)) return "native.replyTo must be a string of at most 255 bytes";
  // Direct reply-to works only on a channel that consumes from the pseudo-queue; elsewhere it ends the channel.
  if (typeof replyTo === "string" && replyTo.startsWith("amq.rabbitmq.reply-to"))
    return "native.replyTo cannot be the broker's direct reply-to: publishing channels consume nothing";
  if (exchange !== undefined && !(typeof exchange === "string" && knowsExchange(exchange)))
    return "native.exchange must be the exchange of a topic that is declared";
  if (
    priority !== undefined &&
    !(typeof priority === "number" && Number.isInteger(priority) && priority >= 0 && priority <= 255)
  )
    return "native.priority must be a whole number from 0 to 255";
  if (expiration !== undefined && !isExpiration(expiration))
    return `native.expiration must be whole milliseconds from 0 to ${LONGEST_EXPIRATION}`;
  return null;
}

function isShort(text: unknown): boolean {
  return text === undefined || (typeof text === "string" && text.length <= 255 && utf8Length(text) <= 255);
}

function isExpiration(value: unknown): boolean {
  if (typeof value === "string") return /^\d{1,10}$/.test(value) && Number(value) <= LONGEST_EXPIRATION;
  return typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= LONGEST_EXPIRATION;
}
