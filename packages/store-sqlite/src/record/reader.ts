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
  #last: DataView = new DataView(new ArrayBuffer(0));
  #value: T | null = null;

  of(bytes: Buffer, view: DataView, from: number, to: number): T {
    if (this.#value === null || !equal(this.#last, view, from, to)) {
      this.#value = JSON.parse(bytes.toString("utf8", from, to)) as T;
      this.#last = viewOf(Uint8Array.from(bytes.subarray(from, to)));
    }
    return this.#value;
  }
}

/** Some tens of bytes, mostly the same: a call of `compare` costs more than to look at them here. */
function equal(whole: DataView, view: DataView, from: number, to: number): boolean {
  const { byteLength } = whole;
  if (byteLength !== to - from) return false;
  let at = 0;
  for (; at + 4 <= byteLength; at += 4) if (whole.getUint32(at) !== view.getUint32(from + at)) return false;
  for (; at < byteLength; at++) if (whole.getUint8(at) !== view.getUint8(from + at)) return false;
  return true;
}

const heads: Parsed<readonly [destination: string, producer: string, topic: string]> = new Parsed();
const allTraits: Parsed<Traits> = new Parsed();
const NO_HEADERS: Outgoing["headers"] = Object.freeze({});
const NO_EXTRA: Extra = [NO_HEADERS, null, null];

/** Records with small bodies share a buffer: one of their own for each costs more than the rest of the row. It lives as long as one of them. */
const SHARED_BYTES = 8 * 1024;
const SMALL = 1_024;

/** Records that lie one behind the other, read one after the other: made once for all of them, not for each. */
export class RecordReader {
  readonly #all: ArrayBuffer;
  readonly #bytes: Buffer;
  readonly #view: DataView;
  #shared: ArrayBuffer = new ArrayBuffer(0);
  #sharedFrom = 0;

  constructor(all: ArrayBuffer) {
    this.#all = all;
    this.#bytes = Buffer.from(all);
    this.#view = new DataView(all);
  }

  /**
   * The record from one byte to another as a row again; its body is none of these bytes.
   * @throws if the bytes are no record: the worker has checked their sum, so that this is a bug or another format.
   */
  row(from: number, end: number, place: number, storedAt: number): Row {
    const [bytes, view] = [this.#bytes, this.#view];
    const parts = partsOf(view, from, end);
    const flags = view.getUint8(from + AT.flags);
    const [destination, producer, topic] = heads.of(bytes, view, from + AT.texts, parts.id);
    const [run, type, contentType, contentEncoding] = allTraits.of(bytes, view, parts.traits, parts.key);
    const [headers, correlationId, causationId, delayMs = 0] =
      parts.extra === parts.native
        ? NO_EXTRA
        : (JSON.parse(bytes.toString("utf8", parts.extra, parts.native)) as Extra);
    const slot = view.getInt32(from + AT.slot, true);
    const dedupeFor = view.getUint32(from + AT.dedupeFor, true);
    return {
      place,
      storedAt,
      destination,
      slot: slot < 0 ? null : slot,
      doubtful: (flags & FLAG.doubtful) !== 0,
      dedupeForMs: dedupeFor === 0 ? null : dedupeFor * 1_000,
      lane: (flags & FLAG.lane) === 0 ? null : view.getInt32(from + AT.lane, true),
      message: {
        id: bytes.toString("utf8", parts.id, parts.traits),
        producer,
        run,
        seq: view.getFloat64(from + AT.seq, true),
        topic,
        key: (flags & FLAG.key) === 0 ? null : bytes.toString("utf8", parts.key, parts.extra),
        ordered: (flags & FLAG.ordered) !== 0,
        type,
        contentType,
        contentEncoding,
        time: view.getFloat64(from + AT.time, true),
        attempt: view.getUint32(from + AT.attempt, true),
        correlationId,
        causationId,
        headers,
        body: this.#body(from, parts.body, end),
        native:
          parts.native === parts.body
            ? null
            : (deserialize(bytes.subarray(parts.native, parts.body)) as Outgoing["native"]),
        group: null,
        delayMs,
      },
    };
  }

  #body(from: number, body: number, end: number): Uint8Array {
    if (end - body > SMALL || end - from > SHARED_BYTES) return new Uint8Array(this.#all.slice(body, end));
    if (from < this.#sharedFrom || end > this.#sharedFrom + this.#shared.byteLength) {
      this.#shared = this.#all.slice(from, from + SHARED_BYTES);
      this.#sharedFrom = from;
    }
    return new Uint8Array(this.#shared, body - this.#sharedFrom, end - body);
  }
}
