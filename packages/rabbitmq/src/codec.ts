import type { ConsumeMessage } from "amqplib";
import { HEADER, type Incoming, parseAttempt, parseSeq, RESERVED_PREFIX } from "@tallymq/core/spi";
import { DELAY_TO } from "./delays.ts";

const NONE: Readonly<Record<string, string>> = Object.freeze(Object.create(null) as Record<string, string>);
/** The broker's own count, given as the delivery's; what the sender wrote is what a handler sees. */
const DELIVERY_COUNT = "x-delivery-count";
/** The broker's account of each hop of a delay: nothing that the sender wrote. Of other dead letters it tells where they died. */
const DEATH = /^x-(?:death$|first-death-|last-death-)/;

/** The envelope on its way in, from any sender: nothing in it is believed to have the type that it should have. */
export function incoming(topic: string, message: ConsumeMessage): Incoming {
  const p = message.properties as unknown as Readonly<Record<string, unknown>>;
  const headers = mend(p);
  const seq = parseSeq(headers?.[HEADER.seq]);
  const time = p["timestamp"];
  return {
    id: text(p["messageId"]),
    // Empty: a copy of a message whose sender gave none.
    producer: text(p["appId"]) || null,
    run: seq.run,
    seq: seq.seq,
    topic,
    key: text(headers?.[HEADER.key]),
    type: text(p["type"]),
    contentType: text(p["contentType"]),
    contentEncoding: text(p["contentEncoding"]),
    // AMQP counts in seconds.
    time: typeof time === "number" && Number.isSafeInteger(time * 1_000) ? time * 1_000 : null,
    attempt: parseAttempt(headers?.[HEADER.attempt]),
    correlationId: text(p["correlationId"]),
    causationId: text(headers?.[HEADER.causationId]),
    headers: headers === null ? NONE : callers(headers),
    body: message.content,
    native: message,
  };
}

/**
 * Deliveries of this message so far, this one included: a quorum queue counts returns in a header, absent at first.
 * Without it a redelivery is known to be one, but not which: null.
 */
export function deliveryCount(message: ConsumeMessage): number | null {
  const returns: unknown = (message.properties.headers as Readonly<Record<string, unknown>> | undefined)?.[
    DELIVERY_COUNT
  ];
  if (typeof returns === "number" && Number.isSafeInteger(returns) && returns >= 0) return returns + 1;
  return message.fields.redelivered ? null : 1;
}

/**
 * The headers table, made safe for whoever gets `native`: the driver assigns a received `__proto__` like any other key,
 * which replaces the table's prototype by the sender's.
 */
function mend(properties: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> | null {
  const headers = properties["headers"];
  if (typeof headers !== "object" || headers === null) return null;
  if (Object.getPrototypeOf(headers) !== Object.prototype) Object.setPrototypeOf(headers, null);
  return headers as Readonly<Record<string, unknown>>;
}

function callers(headers: Readonly<Record<string, unknown>>): Readonly<Record<string, string>> {
  let own: Record<string, string> | null = null;
  const delayed = Object.hasOwn(headers, DELAY_TO);
  for (const name of Object.keys(headers)) {
    if (name.startsWith(RESERVED_PREFIX) || name === DELIVERY_COUNT) continue;
    if (delayed && DEATH.test(name)) continue;
    own ??= Object.create(null) as Record<string, string>;
    own[name] = render(headers[name]);
  }
  return own ?? NONE;
}

/** Bytes as UTF-8, tables and lists as JSON, a timestamp as its number, everything else as JavaScript writes it. */
function render(value: unknown): string {
  if (typeof value === "string") return value;
  if (typeof value !== "object" || value === null) return String(value);
  if (value instanceof Uint8Array)
    return Buffer.from(value.buffer, value.byteOffset, value.byteLength).toString("utf8");
  if (
    Object.hasOwn(value, "!") &&
    Object.hasOwn(value, "value") &&
    typeof (value as { value: unknown }).value !== "object"
  )
    return String((value as { value: unknown }).value);
  try {
    return JSON.stringify(value);
  } catch {
    // Nested deeper than the stack.
    return "a value that cannot be shown";
  }
}

function text(value: unknown): string | null {
  return typeof value === "string" ? value : null;
}
