// A stored message in one piece of bytes, self-contained: numbers at fixed places, then texts, then the body. Little-endian.
// Both threads read it; nothing here knows SQLite.

/** Written into each record. A reader refuses what it does not know. */
export const FORMAT = 1;

export const AT = {
  /** u8 */
  format: 0,
  /** u8, see {@link FLAG} */
  flags: 1,
  /** u16: bytes of JSON `[destination, producer, topic]`; with the id behind it, this is the identity. */
  head: 2,
  /** u16: bytes of the id. */
  id: 4,
  /** u32: bytes of JSON `[run, type, contentType, contentEncoding]`. */
  traits: 8,
  /** u32: bytes of the key. */
  key: 12,
  /** u32: bytes of JSON `[headers, correlationId, causationId, delayMs]`, the last only where there is a delay; 0 if there is none of these. */
  extra: 16,
  /** u32: bytes of `native`, by v8's serializer (it may hold bytes and dates). */
  native: 20,
  /** i32, -1: none */
  slot: 24,
  /** i32, see {@link FLAG}.lane */
  lane: 28,
  /** u32 */
  attempt: 32,
  /** u32: the topic's `dedupeFor` in seconds; 0: not said (a row of before there was one). */
  dedupeFor: 36,
  /** f64 */
  seq: 40,
  /** f64 */
  time: 48,
  /** The texts: head, id, traits, key, extra, native; then the body, up to the end. */
  texts: 56,
} as const;

/** Records on their way to the worker lie one behind the other in a pack, before each its length, u32. */
export const FRAME = 4;
/** Fits some hundred small messages; a larger one gets a pack of its own size. */
export const PACK_BYTES: number = 256 * 1024;

export const FLAG = { ordered: 1, doubtful: 2, key: 4, lane: 8 } as const;

/** Where the parts of a record lie, from the first byte of what it lies in. */
export interface Parts {
  readonly id: number;
  readonly traits: number;
  readonly key: number;
  readonly extra: number;
  readonly native: number;
  readonly body: number;
}

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** @throws RangeError if these bytes cannot be a record. */
export function partsOf(view: DataView, from = 0, end: number = view.byteLength): Parts {
  if (end - from < AT.texts || view.getUint8(from + AT.format) !== FORMAT)
    throw new RangeError("not a record of this format");
  const id = from + AT.texts + view.getUint16(from + AT.head, true);
  const traits = id + view.getUint16(from + AT.id, true);
  const key = traits + view.getUint32(from + AT.traits, true);
  const extra = key + view.getUint32(from + AT.key, true);
  const native = extra + view.getUint32(from + AT.extra, true);
  const body = native + view.getUint32(from + AT.native, true);
  if (body > end) throw new RangeError("a record that is shorter than it says");
  return { id, traits, key, extra, native, body };
}

/** The slot, or null, without reading the rest. */
export function slotOf(view: DataView): number | null {
  const slot = view.getInt32(AT.slot, true);
  return slot < 0 ? null : slot;
}
