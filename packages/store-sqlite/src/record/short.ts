import { AT, COMMON, FORMAT, SHORT, SHORT_FORMAT, viewOf } from "./layout.ts";

interface Common {
  /** A record up to its id, with the numbers that are the same in all of them. */
  readonly start: Uint8Array;
  readonly traits: Uint8Array;
}

/** What short records have in common, and how they stand for themselves again. */
export class Commons {
  readonly bytes: Uint8Array;
  #read: readonly Common[] | null = null;

  /** @param bytes Kept, and read when they are needed. */
  constructor(bytes: Uint8Array) {
    this.bytes = bytes;
  }

  /**
   * The record as it is without others. Also one that was no short one.
   * @throws RangeError if it cannot be a short record that lies beside these.
   */
  expand(record: Uint8Array): Uint8Array {
    if (record[SHORT.format] !== SHORT_FORMAT) return record;
    const common = (this.#read ??= parse(this.bytes))[record[SHORT.common] ?? -1];
    if (common === undefined) throw new RangeError("a short record of which nothing says what it has in common");
    const { start, traits } = common;
    // Of the pool, and every byte is written: a buffer of its own, or a view of it, would cost more than all the rest.
    const full = Buffer.allocUnsafe(record.length - SHORT.texts + start.length + traits.length);
    full.set(start);
    const id = record[SHORT.id] ?? 0;
    full[AT.id] = id;
    copy(record, SHORT.flags, full, AT.flags, 1);
    copy(record, SHORT.key, full, AT.key, 2);
    copy(record, SHORT.extra, full, AT.extra, 4);
    copy(record, SHORT.slot, full, AT.slot, 4);
    copy(record, SHORT.attempt, full, AT.attempt, 2);
    copy(record, SHORT.seq, full, AT.seq, 16); // and the time
    copy(record, SHORT.texts, full, start.length, id);
    full.set(traits, start.length + id);
    // Key, extra and body follow each other in both.
    full.set(record.subarray(SHORT.texts + id), start.length + id + traits.length);
    return full;
  }
}

/** Some bytes: a call of `set` needs a view. */
function copy(from: Uint8Array, at: number, into: Uint8Array, to: number, bytes: number): void {
  for (let n = 0; n < bytes; n++) into[to + n] = from[at + n] ?? 0;
}

function parse(bytes: Uint8Array): readonly Common[] {
  const view = viewOf(bytes);
  const commons: Common[] = [];
  for (let at = 0; at < bytes.length;) {
    const head = at + COMMON.texts;
    const traits = head + view.getUint16(at + COMMON.head, true);
    const end = traits + view.getUint16(at + COMMON.traits, true);
    const start = new Uint8Array(AT.texts + traits - head);
    const into = viewOf(start);
    into.setUint8(AT.format, FORMAT);
    into.setUint16(AT.head, traits - head, true);
    into.setUint32(AT.traits, end - traits, true);
    into.setUint32(AT.dedupeFor, view.getUint32(at + COMMON.dedupeFor, true), true);
    start.set(bytes.subarray(head, traits), AT.texts);
    commons.push({ start, traits: bytes.subarray(traits, end) });
    at = end;
  }
  return commons;
}
