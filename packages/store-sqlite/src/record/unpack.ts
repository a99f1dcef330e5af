import { deserialize } from "node:v8";
import type { NewRow, Outgoing } from "@tallymq/core/spi";
import { AT, FLAG, partsOf, viewOf } from "./layout.ts";

const decoder = new TextDecoder("utf-8", { ignoreBOM: true });

/**
 * A record as a row again; its body is a copy of its own.
 * @throws if the bytes are no record: the worker has checked their sum, so that this is a bug or another format.
 */
export function unpack(bytes: Uint8Array): NewRow {
  const view = viewOf(bytes);
  const parts = partsOf(view);
  const flags = view.getUint8(AT.flags);
  const text = (from: number, to: number): string => decoder.decode(bytes.subarray(from, to));
  const [destination, producer, topic] = JSON.parse(text(AT.texts, parts.id)) as [string, string, string];
  const [run, type, contentType, contentEncoding] = JSON.parse(text(parts.traits, parts.key)) as [
    string,
    string | null,
    string,
    string | null,
  ];
  const [headers, correlationId, causationId] =
    parts.extra === parts.native
      ? [{}, null, null]
      : (JSON.parse(text(parts.extra, parts.native)) as [Outgoing["headers"], string | null, string | null]);
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
      body: bytes.slice(parts.body),
      native:
        parts.native === parts.body
          ? null
          : (deserialize(bytes.subarray(parts.native, parts.body)) as Outgoing["native"]),
      group: null,
      delayMs: 0,
    }),
  };
}
