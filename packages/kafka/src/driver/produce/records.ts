import type { DriverRecord } from "../driver.ts";
import { NOTHING, varintLength, writeVarint } from "../varint.ts";

/** A text that is no ASCII is longer than was thought; with room behind it, what is written of it shows that. */
const ROOM = 8;
/** Shorter texts are written here, longer ones by Node: a call of it costs as much as so many characters. */
const SHORT = 24;

/**
 * Records as a batch of format 2 holds them, in one buffer of the right size, behind so many bytes that are left free.
 *
 * Keys, ids and headers are nearly always ASCII, whose length is known without looking: so they are first taken for that.
 */
export function encodeRecords(records: readonly DriverRecord[], free: number): Buffer {
  return encodeAs(true, records, free) ?? encodeAs(false, records, free)!;
}

/** Null: there is a text that is not ASCII. */
function encodeAs(ascii: boolean, records: readonly DriverRecord[], free: number): Buffer | null {
  const lengths: number[] = [];
  let size = free;
  for (let nth = 0; nth < records.length; nth++) {
    const length = lengthOf(records[nth]!, nth, ascii);
    lengths.push(length);
    size += varintLength(length) + length;
  }
  const bytes = Buffer.allocUnsafe(size + ROOM);
  let at = free;
  for (let nth = 0; nth < records.length; nth++) {
    at = write(bytes, writeVarint(bytes, at, lengths[nth]!), records[nth]!, nth, ascii);
    if (at < 0) return null;
  }
  return bytes.subarray(0, size);
}

/** Without the length itself. One byte of attributes, and one for a timestamp that is the batch's own. */
function lengthOf({ key, value, headers }: DriverRecord, nth: number, ascii: boolean): number {
  let length = 2 + varintLength(nth) + varintLength(value.length) + value.length + varintLength(headers.length >> 1);
  if (key === null) length += 1;
  else length += typeof key === "string" ? textLength(key, ascii) : varintLength(key.length) + key.length;
  for (let at = 0; at < headers.length; at++) length += textLength(headers[at]!, ascii);
  return length;
}

/** Gives where it ends; -1: there is a text that is not ASCII. */
function write(
  bytes: Buffer,
  from: number,
  { key, value, headers }: DriverRecord,
  nth: number,
  ascii: boolean,
): number {
  let at = from;
  bytes[at++] = 0;
  bytes[at++] = 0;
  at = writeVarint(bytes, at, nth);
  if (key === null) bytes[at++] = NOTHING;
  else if (typeof key === "string") at = writeText(bytes, at, key, ascii);
  else at = writeBytes(bytes, at, key);
  if (at < 0) return at;
  at = writeVarint(bytes, writeBytes(bytes, at, value), headers.length >> 1);
  for (let text = 0; text < headers.length; text++) {
    at = writeText(bytes, at, headers[text]!, ascii);
    if (at < 0) return at;
  }
  return at;
}

function textLength(text: string, ascii: boolean): number {
  const length = ascii ? text.length : Buffer.byteLength(text);
  return varintLength(length) + length;
}

function writeText(bytes: Buffer, from: number, text: string, ascii: boolean): number {
  const length = ascii ? text.length : Buffer.byteLength(text);
  const at = writeVarint(bytes, from, length);
  if (!ascii || length > SHORT) return bytes.write(text, at) === length ? at + length : -1;
  for (let nth = 0; nth < length; nth++) {
    const unit = text.charCodeAt(nth);
    if (unit > 127) return -1;
    bytes[at + nth] = unit;
  }
  return at + length;
}

function writeBytes(bytes: Buffer, from: number, value: Uint8Array): number {
  const at = writeVarint(bytes, from, value.length);
  bytes.set(value, at);
  return at + value.length;
}
