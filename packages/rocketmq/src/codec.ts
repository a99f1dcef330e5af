import {
  HEADER,
  type Incoming,
  type Outgoing,
  parseAttempt,
  parseSeq,
  RESERVED_PREFIX,
  utf8Length,
} from "@tallymq/core/spi";
import type { InMessage } from "./driver/driver.ts";

const NONE: Readonly<Record<string, string>> = Object.freeze(Object.create(null) as Record<string, string>);

/** Our own properties beside those of {@link HEADER}. */
const OWN = {
  /** JSON of all that a property cannot hold, by name. */
  more: "tally-more",
  /** Wall-clock milliseconds before which the message is not handed out. */
  due: "tally-due",
  /** The body is empty, whatever is there: the proxy takes no empty one. */
  empty: "tally-empty",
} as const;

/** The declared half whose message it is. */
export const HALF = "tally-half";

const EMPTY = new Uint8Array(0);
/** What goes in place of an empty body. */
const FILLER: Uint8Array = new Uint8Array([0]);

/**
 * The envelope on its way out: properties, since the protocol has a place for nothing but the id.
 *
 * A property is a string between separators (bytes 1 and 2), an empty one is dropped on the way, and capitals with
 * underscores are the broker's own names. What would not arrive as it is goes as JSON into one property.
 */
export function properties(m: Outgoing): ReadonlyMap<string, string> {
  const plain = new Map<string, string>();
  const more: Record<string, string> = Object.create(null) as Record<string, string>;
  const put = (name: string, value: string | null): void => {
    if (value === null) return;
    if (isPlain(name, value)) plain.set(name, value);
    else more[name] = value;
  };
  for (const name of Object.keys(m.headers)) put(name, m.headers[name]!);
  put(HEADER.id, m.id);
  put(HEADER.producer, m.producer);
  put(HEADER.seq, `${m.run}/${m.seq}`);
  put(HEADER.key, m.key);
  put(HEADER.contentType, m.contentType);
  put(HEADER.time, String(m.time));
  if (m.attempt !== 1) put(HEADER.attempt, String(m.attempt));
  put(HEADER.type, m.type);
  put(HEADER.contentEncoding, m.contentEncoding);
  put(HEADER.correlationId, m.correlationId);
  put(HEADER.causationId, m.causationId);
  if (m.body.length === 0) plain.set(OWN.empty, "1");
  if (Object.keys(more).length > 0) plain.set(OWN.more, JSON.stringify(more));
  return plain;
}

export function bodyOf({ body }: Outgoing): Uint8Array {
  return body.length === 0 ? FILLER : body;
}

/** When a delayed message is handed out: by us, to the millisecond; the broker's own timer counts seconds. */
export function withDue(given: ReadonlyMap<string, string>, wall: number): ReadonlyMap<string, string> {
  return new Map([...given, [OWN.due, String(Math.ceil(wall))]]);
}

export function dueOf({ properties: all }: InMessage): number {
  const due = all.get(OWN.due);
  return due !== undefined && /^\d{1,15}$/.test(due) ? Number(due) : 0;
}

/** For the broker's index; a key there is a word. The id is in a property in any case. */
export function keysOf({ id }: Outgoing): readonly string[] {
  return /^[\x21-\x7e]{1,120}$/.test(id) ? [id] : [];
}

/** Bytes that the properties take. The proxy takes 16 KiB of them. */
export function propertyBytes(all: ReadonlyMap<string, string>): number {
  let bytes = 0;
  for (const [name, value] of all) bytes += utf8Length(name) + utf8Length(value);
  return bytes;
}

function isPlain(name: string, value: string): boolean {
  // oxlint-disable-next-line no-control-regex -- these are what must not be in it
  return /^[a-z][a-z0-9-]{0,127}$/.test(name) && value !== "" && value.isWellFormed() && !/[\0-\x1f\x7f]/.test(value);
}

/** What a body is called whose bytes are not those that were sent: no consumer can read it, so it becomes a dead letter as it is. */
export const CORRUPTED = "corrupted";

/** The envelope on its way in, from any sender: nothing in it is believed to have the type that it should have. */
export function incoming(topic: string, given: InMessage): Incoming {
  const all = whole(given.properties);
  const get = (name: string): string | null => all.get(name) ?? null;
  const seq = parseSeq(get(HEADER.seq) ?? undefined);
  const time = get(HEADER.time);
  return {
    id: get(HEADER.id),
    producer: get(HEADER.producer) || null,
    run: seq.run,
    seq: seq.seq,
    topic,
    // A foreign sender's message group is its key.
    key: get(HEADER.key) ?? (all.has(HEADER.id) ? null : given.messageGroup),
    type: get(HEADER.type),
    contentType: get(HEADER.contentType),
    contentEncoding: given.corrupted ? CORRUPTED : (get(HEADER.contentEncoding) ?? (given.gzip ? "gzip" : null)),
    time: time !== null && /^\d{1,15}$/.test(time) ? Number(time) : null,
    attempt: parseAttempt(get(HEADER.attempt) ?? undefined),
    correlationId: get(HEADER.correlationId),
    causationId: get(HEADER.causationId),
    headers: callers(all),
    body: all.has(OWN.empty) && given.body.length <= 1 ? EMPTY : given.body,
    native: given,
  };
}

/** Those of ours that somebody else may have written, for {@link spoofedHeaders}. */
export function ownHeaders({ properties: all }: InMessage): Readonly<Record<string, unknown>> {
  const seq = all.get(HEADER.seq);
  const attempt = all.get(HEADER.attempt);
  return {
    ...(seq === undefined ? {} : { [HEADER.seq]: seq }),
    ...(attempt === undefined ? {} : { [HEADER.attempt]: attempt }),
  };
}

function whole(plain: ReadonlyMap<string, string>): ReadonlyMap<string, string> {
  const more = plain.get(OWN.more);
  if (more === undefined) return plain;
  const all = new Map(plain);
  try {
    const read: unknown = JSON.parse(more);
    if (typeof read === "object" && read !== null)
      for (const [name, value] of Object.entries(read)) if (typeof value === "string") all.set(name, value);
  } catch {
    // Not of our making.
  }
  return all;
}

function callers(all: ReadonlyMap<string, string>): Readonly<Record<string, string>> {
  let own: Record<string, string> | null = null;
  for (const [name, value] of all)
    if (!name.startsWith(RESERVED_PREFIX)) (own ??= Object.create(null) as Record<string, string>)[name] = value;
  return own ?? NONE;
}
