import { deserialize } from "node:v8";
import type { Outgoing, Row } from "@tallymq/core/spi";
import { AT, FLAG, partsOf, viewOf } from "./layout.ts";

type Extra = readonly [
  headers: Outgoing["headers"],
  correlationId: string | null,
  causationId: string | null,
  delayMs?: number,
];
type Traits = readonly [run: string, type: string | null, contentType: string, contentEncoding: string | null];

/** What the records of one topic have in common, parsed once while it does not change. */
class Parsed<T> {
  #bytes: Buffer = Buffer.alloc(0);
  #value: T | null = null;

  of(bytes: Buffer, from: number, to: number): T {
    if (this.#value === null || this.#bytes.compare(bytes, from, to) !== 0) {
      this.#value = JSON.parse(bytes.toString("utf8", from, to)) as T;
      this.#bytes = Buffer.from(bytes.subarray(from, to));
    }
    return this.#value;
  }
}

const heads: Parsed<readonly [destination: string, producer: string, topic: string]> = new Parsed();
const allTraits: Parsed<Traits> = new Parsed();
const NO_HEADERS: Outgoing["headers"] = Object.freeze({});
const NO_EXTRA: Extra = [NO_HEADERS, null, null];

/** Small bodies share a buffer: one of their own costs more than the rest of the row. It lives as long as one of them. */
const POOL_BYTES = 8 * 1024;
const POOLED = 1_024;
let pool = new ArrayBuffer(POOL_BYTES);
let pooled = 0;

function copyOf(bytes: Uint8Array): Uint8Array {
  const { length } = bytes;
  if (length > POOLED) return bytes.slice();
  if (pooled + length > POOL_BYTES) [pool, pooled] = [new ArrayBuffer(POOL_BYTES), 0];
  const copy = new Uint8Array(pool, pooled, length);
  pooled += length;
  copy.set(bytes);
  return copy;
}

/**
 * A record as a row again; its body is a copy of its own.
 * @throws if the bytes are no record: the worker has checked their sum, so that this is a bug or another format.
 */
export function unpack(record: Uint8Array, place: number, storedAt: number): Row {
  const bytes = Buffer.from(record.buffer, record.byteOffset, record.byteLength);
  const view = viewOf(record);
  const parts = partsOf(view);
  const flags = view.getUint8(AT.flags);
  const [destination, producer, topic] = heads.of(bytes, AT.texts, parts.id);
  const [run, type, contentType, contentEncoding] = allTraits.of(bytes, parts.traits, parts.key);
  const [headers, correlationId, causationId, delayMs = 0] =
    parts.extra === parts.native ? NO_EXTRA : (JSON.parse(bytes.toString("utf8", parts.extra, parts.native)) as Extra);
  const slot = view.getInt32(AT.slot, true);
  const dedupeFor = view.getUint32(AT.dedupeFor, true);
  return {
    place,
    storedAt,
    destination,
    slot: slot < 0 ? null : slot,
    doubtful: (flags & FLAG.doubtful) !== 0,
    dedupeForMs: dedupeFor === 0 ? null : dedupeFor * 1_000,
    lane: (flags & FLAG.lane) === 0 ? null : view.getInt32(AT.lane, true),
    message: {
      id: bytes.toString("utf8", parts.id, parts.traits),
      producer,
      run,
      seq: view.getFloat64(AT.seq, true),
      topic,
      key: (flags & FLAG.key) === 0 ? null : bytes.toString("utf8", parts.key, parts.extra),
      ordered: (flags & FLAG.ordered) !== 0,
      type,
      contentType,
      contentEncoding,
      time: view.getFloat64(AT.time, true),
      attempt: view.getUint32(AT.attempt, true),
      correlationId,
      causationId,
      headers,
      body: copyOf(record.subarray(parts.body)),
      native:
        parts.native === parts.body
          ? null
          : (deserialize(bytes.subarray(parts.native, parts.body)) as Outgoing["native"]),
      group: null,
      delayMs,
    },
  };
}
