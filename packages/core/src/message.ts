/**
 * A message on its way out: the snapshot of one `publish()`. Identity of its effect is (producer, topic, id);
 * `run` and `seq` serve the tally only, never deduplication.
 */
export interface Outgoing {
  /** The caller's id or a UUIDv7; 1–255 bytes of UTF-8. The same on every copy. */
  readonly id: string;
  /** The configured name of the service: the same in every instance and after restarts. */
  readonly producer: string;
  /** 128 random bits, hex: this `openTally()`. */
  readonly run: string;
  /** 1, 2, … of (run, topic) in the order of `publish()`; holes are legal. */
  readonly seq: number;
  readonly topic: string;
  readonly key: string | null;
  readonly ordered: boolean;
  /** Name of the kind of message, for receivers that tell kinds apart. */
  readonly type: string | null;
  readonly contentType: string;
  readonly contentEncoding: string | null;
  /** Wall-clock milliseconds since the epoch, of `publish()`. */
  readonly time: number;
  /** 1 for a first publication; a delayed copy made by a consumer counts on. */
  readonly attempt: number;
  readonly correlationId: string | null;
  readonly causationId: string | null;
  /** The caller's headers, `traceparent` among them; a frozen copy. */
  readonly headers: Readonly<Record<string, string>>;
  /** A snapshot: nobody else holds these bytes. */
  readonly body: Uint8Array;
  /** Raw properties for the adapter of this name, passed as they are. */
  readonly native: Readonly<Record<string, unknown>> | null;
  /** The one group whose queue gets this copy; null: every group of the topic. */
  readonly group: string | null;
  /** The broker hands it out this many milliseconds after it has accepted it, not before; 0: at once. */
  readonly delayMs: number;
}

/** One that is still being made. `seq` is 0 until the call is taken. */
export type Draft = { -readonly [K in keyof Outgoing]: Outgoing[K] };

/** A message that came in. Null where a foreign sender gave nothing. */
export interface Incoming {
  readonly id: string | null;
  readonly producer: string | null;
  readonly run: string | null;
  readonly seq: number | null;
  readonly topic: string;
  readonly key: string | null;
  readonly type: string | null;
  readonly contentType: string | null;
  readonly contentEncoding: string | null;
  readonly time: number | null;
  /** At least 1; what is not a whole number from 1 to 1,000,000 is read as 1. */
  readonly attempt: number;
  readonly correlationId: string | null;
  readonly causationId: string | null;
  /** Without a prototype; values that are not strings are rendered as strings. Tally's own headers are not in it. */
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Uint8Array;
  /** The driver's own message. */
  readonly native: unknown;
}

/**
 * Names of Tally's own headers. A protocol that has a native property for a field uses that instead (AMQP: message-id,
 * app-id, type, content-type, content-encoding, timestamp, correlation-id); the rest travels under these names.
 */
export const HEADER = {
  id: "tally-id",
  producer: "tally-producer",
  /** `<run>/<seq>`: one header, since each costs both sides time. */
  seq: "tally-seq",
  key: "tally-key",
  type: "tally-type",
  contentType: "tally-content-type",
  contentEncoding: "tally-content-encoding",
  time: "tally-time",
  attempt: "tally-attempt",
  correlationId: "tally-correlation-id",
  causationId: "tally-causation-id",
} as const;

/** Callers may not write headers that begin so. */
export const RESERVED_PREFIX = "tally-";

/** Reads `<run>/<seq>`; anything else gives nulls (the header may be spoofed or foreign). */
export function parseSeq(value: unknown): { readonly run: string | null; readonly seq: number | null } {
  if (typeof value === "string") {
    const cut = value.lastIndexOf("/");
    const seq = Number(value.slice(cut + 1));
    if (cut > 0 && Number.isSafeInteger(seq) && seq >= 1) return { run: value.slice(0, cut), seq };
  }
  return { run: null, seq: null };
}

/** Reads an attempt header; what is not a whole number from 1 to 1,000,000 is 1. */
export function parseAttempt(value: unknown): number {
  const attempt = typeof value === "number" ? value : typeof value === "string" ? Number(value) : 1;
  return Number.isInteger(attempt) && attempt >= 1 && attempt <= 1_000_000 ? attempt : 1;
}

/** Id of a received message. An empty one tells nobody apart: all messages of such a sender would be one. */
export function idOf(message: Incoming): string | null {
  return message.id === "" ? null : message.id;
}
