import { deserialize } from "node:v8";
import type { NewRow, Outgoing } from "@tallymq/core/spi";
import { AT, FLAG, partsOf, viewOf } from "./layout.ts";

type Traits = readonly [run: string, type: string | null, contentType: string, contentEncoding: string | null];

/** What the records of one topic have in common, parsed once while it does not change. */
class Parsed<T> {
  #text = "";
  #value: T | null = null;

  of(text: string): T {
    if (this.#value === null || text !== this.#text) {
      this.#value = JSON.parse(text) as T;
      this.#text = text;
    }
    return this.#value;
  }
}

const heads: Parsed<readonly [destination: string, producer: string, topic: string]> = new Parsed();
const allTraits: Parsed<Traits> = new Parsed();

/**
 * A record as a row again; its body is a copy of its own.
 * @throws if the bytes are no record: the worker has checked their sum, so that this is a bug or another format.
 */
export function unpack(record: Uint8Array): NewRow {
  const bytes = Buffer.from(record.buffer, record.byteOffset, record.byteLength);
  const view = viewOf(record);
  const parts = partsOf(view);
  const flags = view.getUint8(AT.flags);
  const text = (from: number, to: number): string => bytes.toString("utf8", from, to);
  const [destination, producer, topic] = heads.of(text(AT.texts, parts.id));
  const [run, type, contentType, contentEncoding] = allTraits.of(text(parts.traits, parts.key));
  const [headers, correlationId, causationId, delayMs = 0] =
    parts.extra === parts.native
      ? [{}, null, null]
      : (JSON.parse(text(parts.extra, parts.native)) as [Outgoing["headers"], string | null, string | null, number?]);
  const slot = view.getInt32(AT.slot, true);
  const dedupeFor = view.getUint32(AT.dedupeFor, true);
  return {
    destination,
    slot: slot < 0 ? null : slot,
    doubtful: (flags & FLAG.doubtful) !== 0,
    dedupeForMs: dedupeFor === 0 ? null : dedupeFor * 1_000,
    lane: (flags & FLAG.lane) === 0 ? null : view.getInt32(AT.lane, true),
    message: Object.freeze({
      id: text(parts.id, parts.traits),
      producer,
      run,
      seq: view.getFloat64(AT.seq, true),
      topic,
      key: (flags & FLAG.key) === 0 ? null : text(parts.key, parts.extra),
      ordered: (flags & FLAG.ordered) !== 0,
      type,
      contentType,
      contentEncoding,
      time: view.getFloat64(AT.time, true),
      attempt: view.getUint32(AT.attempt, true),
      correlationId,
      causationId,
      headers: Object.freeze(headers),
      body: record.slice(parts.body),
      native:
        parts.native === parts.body
          ? null
          : (deserialize(bytes.subarray(parts.native, parts.body)) as Outgoing["native"]),
      group: null,
      delayMs,
    }),
  };
}
