import { AT, COMMON, FORMAT, SHORT, SHORT_FORMAT, viewOf } from "./layout.ts";

interface Common {
  readonly head: Uint8Array;
  readonly traits: Uint8Array;
  readonly dedupeFor: number;
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
    const from = viewOf(record);
    const common = (this.#read ??= parse(this.bytes))[from.getUint8(SHORT.common)];
    if (common === undefined) throw new RangeError("a short record of which nothing says what it has in common");
    const { head, traits } = common;
    const [id, key, extra] = [
      from.getUint8(SHORT.id),
      from.getUint16(SHORT.key, true),
      from.getUint32(SHORT.extra, true),
    ];
    const full = new Uint8Array(record.length - SHORT.texts + AT.texts + head.length + traits.length);
    const into = viewOf(full);
    into.setUint8(AT.format, FORMAT);
    into.setUint8(AT.flags, from.getUint8(SHORT.flags));
    into.setUint16(AT.head, head.length, true);
    into.setUint16(AT.id, id, true);
    into.setUint32(AT.traits, traits.length, true);
    into.setUint32(AT.key, key, true);
    into.setUint32(AT.extra, extra, true);
    into.setInt32(AT.slot, from.getInt32(SHORT.slot, true), true);
    into.setUint32(AT.attempt, from.getUint16(SHORT.attempt, true), true);
    into.setUint32(AT.dedupeFor, common.dedupeFor, true);
    into.setFloat64(AT.seq, from.getFloat64(SHORT.seq, true), true);
    into.setFloat64(AT.time, from.getFloat64(SHORT.time, true), true);
    let at: number = AT.texts;
    full.set(head, at);
    at += head.length;
    const behindId = SHORT.texts + id;
    full.set(record.subarray(SHORT.texts, behindId), at);
    at += id;
    full.set(traits, at);
    // Key, extra and body follow each other in both.
    full.set(record.subarray(behindId), at + traits.length);
    return full;
  }
}

function parse(bytes: Uint8Array): readonly Common[] {
  const view = viewOf(bytes);
  const commons: Common[] = [];
  for (let at = 0; at < bytes.length;) {
    const head = at + COMMON.texts;
    const traits = head + view.getUint16(at + COMMON.head, true);
    const end = traits + view.getUint16(at + COMMON.traits, true);
    const dedupeFor = view.getUint32(at + COMMON.dedupeFor, true);
    commons.push({ head: bytes.subarray(head, traits), traits: bytes.subarray(traits, end), dedupeFor });
    at = end;
  }
  return commons;
}
