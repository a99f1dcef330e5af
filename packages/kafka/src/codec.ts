import { HEADER, type Incoming, type Outgoing, parseAttempt, parseSeq, RESERVED_PREFIX } from "@tallymq/core/spi";
import { DELAY, GROUP } from "./delays/ladder.ts";
import type { DriverRecord, ReceivedRecord } from "./driver/driver.ts";

const NONE: Readonly<Record<string, string>> = Object.freeze(Object.create(null) as Record<string, string>);
const EMPTY = new Uint8Array(0);
/** No coding that anybody reads: the body is a batch, as it came, or nothing. */
const UNREADABLE = "kafka-batch";
const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * The envelope on its way out. Kafka has a place for the key; all else is headers.
 *
 * The record's timestamp is left to the client, which writes when it sends: the broker's retention counts from it, and what
 * waited in an outbox for a week must not be old on arrival. The time of `publish()` is a header.
 */
export function record(m: Outgoing): DriverRecord {
  const headers: string[] = [];
  for (const name of Object.keys(m.headers)) headers.push(name, m.headers[name]!);
  headers.push(HEADER.id, m.id, HEADER.producer, m.producer, HEADER.seq, `${m.run}/${m.seq}`);
  headers.push(HEADER.contentType, m.contentType, HEADER.time, String(m.time));
  if (m.attempt !== 1) headers.push(HEADER.attempt, String(m.attempt));
  if (m.type !== null) headers.push(HEADER.type, m.type);
  if (m.contentEncoding !== null) headers.push(HEADER.contentEncoding, m.contentEncoding);
  if (m.correlationId !== null) headers.push(HEADER.correlationId, m.correlationId);
  if (m.causationId !== null) headers.push(HEADER.causationId, m.causationId);
  // While it is delayed it carries where it is to go from its steps.
  if (m.delayMs > 0) headers.push(DELAY, String(m.delayMs));
  if (m.delayMs > 0 && m.group !== null) headers.push(GROUP, m.group);
  return { key: m.key, value: m.body, headers };
}

/** The envelope on its way in, from any sender: nothing in it is believed to have the type that it should have. */
export function incoming(topic: string, { key, value, headers, native, unreadable }: ReceivedRecord): Incoming {
  const seq = parseSeq(text(headers, HEADER.seq));
  const time = text(headers, HEADER.time);
  return {
    id: text(headers, HEADER.id),
    // Empty: a copy of a message whose sender gave none.
    producer: text(headers, HEADER.producer) || null,
    run: seq.run,
    seq: seq.seq,
    topic,
    key: key === null ? null : utf8(key),
    type: text(headers, HEADER.type),
    contentType: text(headers, HEADER.contentType),
    contentEncoding: unreadable === null ? text(headers, HEADER.contentEncoding) : UNREADABLE,
    time: time !== null && /^\d{1,15}$/.test(time) ? Number(time) : null,
    attempt: parseAttempt(text(headers, HEADER.attempt) ?? undefined),
    correlationId: text(headers, HEADER.correlationId),
    causationId: text(headers, HEADER.causationId),
    headers: callers(headers),
    // A foreign tombstone.
    body: value ?? EMPTY,
    native,
  };
}

/** Those of ours, as strings, for {@link spoofedHeaders}; null: there are none. */
export function ownHeaders(headers: Readonly<Record<string, unknown>>): Readonly<Record<string, unknown>> | null {
  const seq = text(headers, HEADER.seq);
  const attempt = text(headers, HEADER.attempt);
  if (seq === null && attempt === null) return null;
  return {
    ...(seq === null ? {} : { [HEADER.seq]: seq }),
    ...(attempt === null ? {} : { [HEADER.attempt]: attempt }),
  };
}

/** All of them, as text: what goes on as it is. */
export function headersOf(headers: Readonly<Record<string, unknown>>): Readonly<Record<string, string>> {
  const all = Object.create(null) as Record<string, string>;
  for (const name of Object.keys(headers)) {
    const value = text(headers, name);
    if (value !== null) all[name] = value;
  }
  return all;
}

function callers(headers: Readonly<Record<string, unknown>>): Readonly<Record<string, string>> {
  let own: Record<string, string> | null = null;
  for (const name of Object.keys(headers)) {
    if (name.startsWith(RESERVED_PREFIX)) continue;
    const value = text(headers, name);
    if (value !== null) (own ??= Object.create(null) as Record<string, string>)[name] = value;
  }
  return own ?? NONE;
}

/**
 * A header as text. One that comes several times has the last value, as Java's `lastHeader` gives it. kafkajs looks a name
 * up on a plain object while it reads, so that a header called `constructor` comes as a list that begins with what it found
 * there: only bytes are a sender's.
 */
function text(headers: Readonly<Record<string, unknown>>, name: string): string | null {
  const value: unknown = Object.hasOwn(headers, name) ? headers[name] : null;
  const last: unknown = Array.isArray(value) ? value.findLast((one) => one instanceof Uint8Array) : value;
  if (last instanceof Uint8Array) return utf8(last);
  return typeof last === "string" ? last : null;
}

/** The driver's bytes are Node's buffers, which are read faster than by the decoder. */
function utf8(bytes: Uint8Array): string {
  return bytes instanceof Buffer ? bytes.toString() : decoder.decode(bytes);
}
