import type { Codec } from "../codec.ts";
import { bodyHash, textHash } from "../hash.ts";
import { type Incoming, RESERVED_PREFIX } from "../message.ts";
import { utf8Length } from "../policy.ts";
import { MAX_HEADER_BYTES, MAX_NAME_BYTES } from "../publish/snapshot.ts";
import type { Own, PublishOptions } from "../publish/options.ts";
import { topic, type Topic } from "../topic.ts";

/** The one group of each topic of dead letters: so that a letter has somewhere to go before anybody asks for it. */
export const DEAD_LETTERS = "dead-letters";

/** Headers of a dead letter, beside those that the message had. */
export const DEAD_HEADER = {
  reason: "dead-reason",
  topic: "dead-topic",
  group: "dead-group",
  /** Started attempts; absent where a redelivery found the message dead already. */
  attempts: "dead-attempts",
  /** Whose the message was, and its id there. */
  producer: "dead-producer",
  id: "dead-id",
  /** Wall-clock milliseconds. */
  at: "dead-at",
} as const;

/** Why, and after how many started attempts, a message was given up. */
export interface Death {
  readonly reason: string;
  readonly attempts: number | null;
  /** The identity has another body: a message of its own, which must not be taken for a copy of the first. */
  readonly conflict: boolean;
}

/** The same identity came before with another body. */
export const CONFLICT: Death = Object.freeze({
  reason: "conflict: the same identity came before with another body",
  attempts: null,
  conflict: true,
});

/** A reason as it is stored and sent: one that a handler's error was put into may be anything. */
const MOST_REASON = 1_000;
// Headers of ours take less; the message's own have the rest.
const OWN_BYTES = 8_192;

/** @throws TallyError `bad-config` when the names are too long for a broker. */
export function deadLetterTopic(from: string, group: string): Topic<Uint8Array> {
  return topic<Uint8Array>(`${from}.${group}.${DEAD_LETTERS}`, {
    groups: [DEAD_LETTERS],
    codec: raw("application/octet-stream"),
  });
}

export function reasonText(reason: string): string {
  return reason.slice(0, MOST_REASON).toWellFormed().replaceAll("\0", "");
}

/** What is published for a message that is given up: all that it was, and why. @param at Wall-clock milliseconds */
export function letter(
  to: Topic<Uint8Array>,
  from: string,
  group: string,
  id: string | null,
  message: Incoming,
  death: Death,
  at: number,
): { readonly topic: Topic<Uint8Array>; readonly options: PublishOptions; readonly own: Own } {
  const headers: Record<string, string> = Object.create(null) as Record<string, string>;
  let bytes = OWN_BYTES;
  for (const [name, value] of Object.entries(message.headers)) {
    bytes += utf8Length(name) + utf8Length(value);
    if (bytes <= MAX_HEADER_BYTES && sendable(name, value)) headers[name] = value;
  }
  headers[DEAD_HEADER.reason] = reasonText(death.reason);
  headers[DEAD_HEADER.topic] = from;
  headers[DEAD_HEADER.group] = group;
  if (death.attempts !== null) headers[DEAD_HEADER.attempts] = String(death.attempts);
  if (message.producer?.isWellFormed() === true) headers[DEAD_HEADER.producer] = message.producer;
  if (id?.isWellFormed() === true) headers[DEAD_HEADER.id] = id;
  headers[DEAD_HEADER.at] = String(Math.floor(at));
  const sent = idOf(id, message, death);
  return {
    topic: {
      ...to,
      codec: raw(message.contentType ?? to.codec.contentType),
    },
    options: {
      headers,
      ...(sent === null ? {} : { id: sent }),
      ...(isName(message.key) ? { key: message.key } : {}),
      ...(isName(message.correlationId) ? { correlationId: message.correlationId } : {}),
    },
    own: {
      type: isName(message.type) ? message.type : null,
      ...(isName(message.producer) ? { producer: message.producer } : {}),
      ...(isName(message.contentEncoding) ? { contentEncoding: message.contentEncoding } : {}),
      ...(isName(message.causationId) ? { causationId: message.causationId } : {}),
      ...(message.time !== null && message.time >= 0 ? { time: message.time } : {}),
    },
  };
}

/** The message's own id, so that a letter sent twice is one. */
function idOf(id: string | null, message: Incoming, { conflict }: Death): string | null {
  if (id === null) return null;
  if (!conflict && isName(id)) return id;
  const mark = bodyHash(message.body).toString(16).padStart(16, "0");
  const own = `${id}#${mark}`;
  return isName(own) ? own : `${textHash(id).toString(16).padStart(16, "0")}#${mark}`;
}

function isName(given: string | null): given is string {
  return (
    given !== null &&
    given !== "" &&
    given.isWellFormed() &&
    !given.includes("\0") &&
    utf8Length(given) <= MAX_NAME_BYTES
  );
}

function sendable(name: string, value: string): boolean {
  return (
    name !== "" &&
    name.isWellFormed() &&
    utf8Length(name) <= 128 &&
    !name.toLowerCase().startsWith(RESERVED_PREFIX) &&
    value.isWellFormed()
  );
}

/** Bytes as they came, under the content type that they came with. */
function raw(contentType: string): Codec<Uint8Array> {
  // The publisher's entry is the only one that holds them: a delivery's body is nobody else's.
  return { contentType, encode: (body) => body, decode: (body) => body };
}
