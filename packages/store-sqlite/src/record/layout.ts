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
  /** u16, 0: of no use yet. */
  spare: 6,
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

/**
 * A record among others of its topic: what they have in common (head, traits, `dedupeFor`) lies beside them once, see {@link COMMON}.
 * Only what has no lane, and nothing native, is written so. Behind the texts id, key and extra comes the body, up to the end.
 */
export const SHORT_FORMAT = 2;

export const SHORT = {
  /** As in {@link AT}. */
  format: 0,
  flags: 1,
  /** u8: the number of its {@link COMMON}. */
  common: 2,
  /** u8: bytes of the id. */
  id: 3,
  /** u16: bytes of the key. */
  key: 4,
  /** u16 */
  attempt: 6,
  /** i32, -1: none */
  slot: 8,
  /** u32: bytes of extra. */
  extra: 12,
  /** f64 */
  seq: 16,
  /** f64 */
  time: 24,
  texts: 32,
} as const;

/** What short records have in common, one behind the other, each: */
export const COMMON = {
  /** u16: bytes of the head. */
  head: 0,
  /** u16: bytes of the traits. */
  traits: 2,
  /** u32, seconds */
  dedupeFor: 4,
  /** Head, traits. */
  texts: 8,
} as const;

/** Records on their way to the worker lie one behind the other in a batch, before each its length, u32. */
export const FRAME = 4;
/** Fits some hundred small messages; a larger one gets a batch of its own size. */
export const BATCH_BYTES: number = 256 * 1024;

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
  const slot = slotAt(view, 0);
  return slot < 0 ? null : slot;
}

/** Of the record that begins there, short or not; -1: none. */
export function slotAt(view: DataView, from: number): number {
  return view.getInt32(from + (isShort(view, from) ? SHORT.slot : AT.slot), true);
}

/** Where the id of the record that begins there lies, short or not. */
export function idAt(view: DataView, from: number): number {
  return isShort(view, from) ? from + SHORT.texts : from + AT.texts + view.getUint16(from + AT.head, true);
}

export function idLength(view: DataView, from: number): number {
  return isShort(view, from) ? view.getUint8(from + SHORT.id) : view.getUint16(from + AT.id, true);
}

function isShort(view: DataView, from: number): boolean {
  return view.getUint8(from) === SHORT_FORMAT;
}
