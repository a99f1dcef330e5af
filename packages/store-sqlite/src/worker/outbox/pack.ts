// The bytes of a stored pack: records one behind the other, each behind its length, and a list of them, with what short ones have in
// common behind it and its checksum in between. Nothing here knows SQLite.
import { crc32 } from "node:zlib";
import { FRAME, SHORT, idAt, idLength, slotAt, viewOf } from "../../record/layout.ts";
import { Commons } from "../../record/short.ts";

/** Of each record: where it ends (u32), its checksum (u32), its slot (i32, -1: none). */
const ENTRY = 12;
const CRC = 4;
const SLOT = 8;
/** Of what lies behind the list. */
const CRC_BYTES = 4;
const NONE: Uint8Array = new Uint8Array(0);

/**
 * Bytes of a pack that lie in one page of ours, its numbers aside: so that a page that is damaged costs no more rows than if they
 * lay by themselves.
 */
const PAGE = 16_384 - 128;

/** Fewer rows are stored as loose ones: a pack costs as much as some of them. */
export const LEAST_ROWS = 16;

export interface Listed {
  readonly list: Uint8Array;
  readonly first: Uint8Array;
  readonly last: Uint8Array;
  readonly records: Uint8Array;
}

/** How many records from here on one pack takes; fewer than two: they are large. @param common Bytes of what they have in common. */
export function rowsIn(view: DataView, from: number, most: number, common: number): number {
  let [at, rows, left] = [from, 0, PAGE - common - idLength(view, from + FRAME)];
  for (; rows < most; rows++) {
    const bytes = FRAME + view.getUint32(at, true);
    // The last id is beside the records once more.
    if (left < bytes + ENTRY + idLength(view, at + FRAME)) break;
    left -= bytes + ENTRY;
    at += bytes;
  }
  // What would be too few for a pack of their own gets some of these.
  const rest = most - rows;
  return rest > 0 && rest < LEAST_ROWS && most >= 2 * LEAST_ROWS ? most - LEAST_ROWS : rows;
}

/** What records have in common as it lies behind their list. */
export function commonsBehind(bytes: Uint8Array): Uint8Array {
  if (bytes.length === 0) return bytes;
  const behind = new Uint8Array(CRC_BYTES + bytes.length);
  viewOf(behind).setUint32(0, crc32(bytes), true);
  behind.set(bytes, CRC_BYTES);
  return behind;
}

/** Null: the ids do not rise from record to record, as bytes. @param behind See {@link commonsBehind}. */
export function listOf(all: Uint8Array, view: DataView, from: number, rows: number, behind: Uint8Array): Listed | null {
  const entries = rows * ENTRY;
  const list = new Uint8Array(entries + behind.length);
  const into = viewOf(list);
  let [at, before, beforeLength] = [from, 0, -1];
  for (let entry = 0; entry < entries; entry += ENTRY) {
    const start = at + FRAME;
    at = start + view.getUint32(at, true);
    const [id, length] = [idAt(view, start), idLength(view, start)];
    if (beforeLength >= 0 && !rises(view, before, beforeLength, id, length)) return null;
    [before, beforeLength] = [id, length];
    into.setUint32(entry, at - from, true);
    into.setUint32(entry + CRC, crc32(all.subarray(start, at)), true);
    into.setInt32(entry + SLOT, slotAt(view, start), true);
  }
  list.set(behind, entries);
  const id = idAt(view, from + FRAME);
  return {
    list,
    first: all.subarray(id, id + idLength(view, from + FRAME)),
    last: all.subarray(before, before + beforeLength),
    records: all.subarray(from, at),
  };
}

/** Slots of a pack's rows, by their numbers in it. */
export function slotIn(list: DataView, row: number): number | null {
  const slot = (row + 1) * ENTRY > list.byteLength ? -1 : list.getInt32(row * ENTRY + SLOT, true);
  return slot < 0 ? null : slot;
}

/** Some tens of bytes, the first of them mostly the same: a call of `compare` costs more than to look at them here. */
function rises(view: DataView, a: number, aLength: number, b: number, bLength: number): boolean {
  const both = Math.min(aLength, bLength);
  let at = 0;
  for (; at + 4 <= both; at += 4) {
    const [x, y] = [view.getUint32(a + at), view.getUint32(b + at)];
    if (x !== y) return x < y;
  }
  for (; at < both; at++) {
    const [x, y] = [view.getUint8(a + at), view.getUint8(b + at)];
    if (x !== y) return x < y;
  }
  return aLength < bLength;
}

/** A stored pack, read. It never changes; which of its rows are left is not in it. */
export class PackBytes {
  readonly #list: DataView;
  readonly #records: Buffer;
  readonly #commons: Commons;
  /** Where each record begins by the lengths in front of them, once that was needed. */
  #starts: readonly number[] | null = null;

  constructor(rows: number, list: Uint8Array, records: Uint8Array) {
    this.#list = viewOf(list.subarray(0, rows * ENTRY));
    this.#records = Buffer.from(records.buffer, records.byteOffset, records.byteLength);
    const behind = list.subarray(rows * ENTRY);
    const commons = behind.subarray(CRC_BYTES);
    const whole = commons.length > 0 && crc32(commons) === viewOf(behind).getUint32(0, true);
    this.#commons = new Commons(whole ? commons : NONE);
  }

  slot(row: number): number | null {
    return slotIn(this.#list, row);
  }

  /** Of a row that is not in the list: no checksum. */
  crc(row: number): number {
    return (row + 1) * ENTRY > this.#list.byteLength ? -1 : this.#list.getUint32(row * ENTRY + CRC, true);
  }

  /** As it stands for itself; null: its bytes, or what it has in common with others, are not what was stored. */
  record(row: number): Uint8Array | null {
    const stored = this.#stored(row);
    try {
      return stored === null ? null : this.#commons.expand(stored);
    } catch {
      return null;
    }
  }

  /** Null: its bytes are not what was stored. Where it lies is said twice, so that one wrong byte spoils one record at most. */
  #stored(row: number): Uint8Array | null {
    const listed = this.bytes(row);
    if (crc32(listed) === this.crc(row)) return listed;
    this.#starts ??= this.#walk();
    const start = this.#starts[row];
    if (start === undefined) return null;
    const framed = this.#records.subarray(start, start + this.#records.readUInt32LE(start - FRAME));
    return crc32(framed) === this.crc(row) ? framed : null;
  }

  /** As far as the list knows where it lies. */
  bytes(row: number): Uint8Array {
    if ((row + 1) * ENTRY > this.#list.byteLength) return new Uint8Array(0);
    const before = row === 0 ? 0 : this.#list.getUint32((row - 1) * ENTRY, true);
    return this.#records.subarray(before + FRAME, this.#list.getUint32(row * ENTRY, true));
  }

  /** The row of this id, whole; -1: there is none. */
  find(id: Uint8Array): number {
    let [from, to] = [0, this.#list.byteLength / ENTRY];
    while (from < to) {
      const middle = (from + to) >>> 1;
      const other = idOf(this.bytes(middle));
      const order = other === null ? 0 : Buffer.compare(id, other);
      if (order === 0) return this.record(middle) === null ? -1 : middle;
      if (order > 0) from = middle + 1;
      else to = middle;
    }
    return -1;
  }

  #walk(): readonly number[] {
    const starts: number[] = [];
    for (let at = 0; at + FRAME <= this.#records.length; at += FRAME + this.#records.readUInt32LE(at))
      starts.push(at + FRAME);
    return starts;
  }
}

/** Null: these bytes are too short for a record. */
export function idOf(record: Uint8Array): Uint8Array | null {
  if (record.length < SHORT.texts) return null;
  const view = viewOf(record);
  const at = idAt(view, 0);
  return record.subarray(at, at + idLength(view, 0));
}

/** Which rows of a pack are gone, a bit each. */
export class Gone {
  readonly bits: Uint8Array;
  #count = 0;

  /** @param bits Null: none. */
  constructor(rows: number, bits: Uint8Array | null) {
    this.bits = new Uint8Array(Math.ceil(rows / 8));
    if (bits !== null) this.bits.set(bits.subarray(0, this.bits.length));
    for (let row = 0; row < rows; row++) if (this.has(row)) this.#count++;
  }

  get count(): number {
    return this.#count;
  }

  has(row: number): boolean {
    return ((this.bits[row >>> 3] ?? 0) & (1 << (row & 7))) !== 0;
  }

  add(row: number): void {
    if (this.has(row)) return;
    this.bits[row >>> 3] = (this.bits[row >>> 3] ?? 0) | (1 << (row & 7));
    this.#count++;
  }
}
