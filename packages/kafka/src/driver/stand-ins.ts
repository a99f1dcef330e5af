import { NOTHING, varintLength, writeVarint } from "./varint.ts";

/** Bytes of a batch before its records, and where in them what is needed here stands. */
const HEAD = 61;
const AT = { length: 8, magic: 16, attributes: 21, lastOffsetDelta: 23, count: 57 } as const;
const CODEC = 7;
/** A batch with more records than this is refused whole: standing in for them would be the bomb. */
const MOST = 65_536;

/** By the memory that holds the records: nothing that a sender writes can look like it. */
const unreadable: WeakMap<ArrayBufferLike, string> = new WeakMap();

/**
 * Records in the place of those of a batch that cannot be decompressed, so that what its consumer does with a message that
 * cannot be read happens to each of them, and the partition goes on behind them: as many as there are, at their offsets. The
 * first has the batch as it came, the others nothing.
 *
 * kafkajs gives a codec the compressed bytes alone; the batch's head lies before them in the same answer.
 * @param bytes as the codec was given them @returns null where no such head lies there
 */
export function standIns(bytes: Buffer, codec: number, why: string): Buffer | null {
  if (bytes.byteOffset < HEAD) return null;
  const head = Buffer.from(bytes.buffer, bytes.byteOffset - HEAD, HEAD);
  const length = head.readInt32BE(AT.length);
  const count = head.readInt32BE(AT.count);
  const last = head.readInt32BE(AT.lastOffsetDelta);
  const fits = length === HEAD - AT.length - 4 + bytes.length && head[AT.magic] === 2;
  if (!fits || (head.readInt16BE(AT.attributes) & CODEC) !== codec) return null;
  if (count < 1 || count > MOST || last < count - 1) return null;
  const records: Buffer[] = [];
  for (let nth = 0; nth < count; nth++)
    records.push(record(nth === count - 1 ? last : nth, nth === 0 ? bytes : Buffer.alloc(0)));
  const all = Buffer.concat(records);
  // Not of the pool, where others' bytes lie beside them.
  const own = Buffer.from(new ArrayBuffer(all.length));
  all.copy(own);
  unreadable.set(own.buffer, why);
  return own;
}

/** Why this value is none; null for one that is. */
export function whyUnreadable(value: Uint8Array | null): string | null {
  return value === null ? null : (unreadable.get(value.buffer) ?? null);
}

/** Attributes, a timestamp of the batch's own, the offset, no key, the value, no headers. */
function record(offset: number, value: Buffer): Buffer {
  const length = 4 + varintLength(offset) + varintLength(value.length) + value.length;
  // A byte each of attributes, timestamp and number of headers: 0.
  const bytes = Buffer.alloc(varintLength(length) + length);
  let at = writeVarint(bytes, writeVarint(bytes, 0, length) + 2, offset);
  bytes[at++] = NOTHING;
  value.copy(bytes, writeVarint(bytes, at, value.length));
  return bytes;
}
