import { serialize } from "node:v8";
import { type NewRow, TallyError } from "@tallymq/core/spi";
import type { Head, Heads } from "./heads.ts";
import { AT, FLAG, FORMAT, FRAME, BATCH_BYTES, SHORT, SHORT_FORMAT } from "./layout.ts";

/** Buffers that are kept for later. */
const MOST_FREE = 8;

/** UTF-16 units whose bytes are counted in 16 bits, escapes included. */
const MOST_ID = 10_000;
/** UTF-16 units of an id whose bytes are counted in 8 bits, and of a key with 16. */
const MOST_SHORT_ID = 85;
const MOST_SHORT_KEY = 21_845;
/** What is larger does not lie in packs, where so many and no fewer share a page. */
const MOST_SHORT_BODY = 1_024;
/** Of one batch. They are stored with every pack that is made of it. */
const MOST_COMMONS = 8;
const MOST_COMMON_BYTES = 512;
const NO_BYTES: Uint8Array = new Uint8Array(0);
const encoder = new TextEncoder();

/** Rows on their way to the worker: records one behind the other in one transferable buffer, behind them what they have in common. */
export class Batch {
  rows = 0;
  /** Of the records. */
  used = 0;
  readonly bytes: Buffer<ArrayBuffer>;
  readonly #view: DataView;
  readonly #shares: boolean;
  readonly #commons: Head[] = [];
  /** Of what records have in common, which comes behind them. */
  #commonBytes = 0;

  /**
   * @param buffer What is in it is written over.
   * @param shares Records may be short ones. Else each stands for itself.
   */
  constructor(buffer: ArrayBuffer, shares: boolean) {
    this.bytes = Buffer.from(buffer);
    this.#view = new DataView(buffer);
    this.#shares = shares;
  }

  /**
   * Writes a row at the end. False: there is no room, and nothing was written.
   * @throws TallyError `bad-message` when `native` holds what cannot be stored.
   */
  add(row: NewRow, heads: Heads): boolean {
    const { message } = row;
    const head = heads.of(row);
    const extra = extraOf(row);
    const native = nativeOf(row);
    const common = this.#shares && isCommon(row) ? this.#commonOf(head) : null;
    const fresh = common === this.#commons.length ? head.common.length : 0;
    // 3 bytes are the most that one UTF-16 unit takes.
    const most =
      FRAME +
      (common === null ? AT.texts + head.head.length + head.traits.length : SHORT.texts) +
      3 * (message.id.length + (message.key?.length ?? 0)) +
      extra.length +
      native.length +
      message.body.length;
    if (this.used + most + this.#commonBytes + fresh > this.bytes.length) return false;
    if (fresh > 0) {
      this.#commons.push(head);
      this.#commonBytes += fresh;
    }
    const start = this.used + FRAME;
    const end = common === null ? this.#full(row, start, head, extra, native) : this.#short(row, start, common, extra);
    this.#view.setUint32(this.used, end - start, true);
    this.used = end;
    this.rows++;
    return true;
  }

  /** Writes down what records have in common. @returns its bytes, behind the records. */
  finish(): number {
    let at = this.used;
    for (const { common } of this.#commons) {
      this.bytes.set(common, at);
      at += common.length;
    }
    return at - this.used;
  }

  /** The number of what this row has in common with others, which may be the next; null: there is no more room for such. */
  #commonOf(head: Head): number | null {
    const commons = this.#commons;
    const at = commons.indexOf(head);
    if (at >= 0) return at;
    return commons.length < MOST_COMMONS && head.common.length <= MOST_COMMON_BYTES ? commons.length : null;
  }

  #short(row: NewRow, start: number, common: number, extra: Uint8Array): number {
    const { message } = row;
    const [view, bytes] = [this.#view, this.bytes];
    let at = start + SHORT.texts;
    const idBytes = this.#text(message.id, at);
    at += idBytes;
    const keyBytes = message.key === null ? 0 : bytes.write(message.key, at, "utf8");
    at += keyBytes;
    if (extra.length > 0) bytes.set(extra, at);
    at += extra.length;
    bytes.set(message.body, at);
    view.setUint8(start + SHORT.format, SHORT_FORMAT);
    view.setUint8(start + SHORT.flags, flagsOf(row));
    view.setUint8(start + SHORT.common, common);
    view.setUint8(start + SHORT.id, idBytes);
    view.setUint16(start + SHORT.key, keyBytes, true);
    view.setUint16(start + SHORT.attempt, message.attempt, true);
    view.setInt32(start + SHORT.slot, row.slot ?? -1, true);
    view.setUint32(start + SHORT.extra, extra.length, true);
    view.setFloat64(start + SHORT.seq, message.seq, true);
    view.setFloat64(start + SHORT.time, message.time, true);
    return at + message.body.length;
  }

  #full(row: NewRow, start: number, head: Head, extra: Uint8Array, native: Uint8Array): number {
    const { message } = row;
    const [view, bytes] = [this.#view, this.bytes];
    let at = start + AT.texts;
    bytes.set(head.head, at);
    at += head.head.length;
    const idBytes = this.#text(message.id, at);
    at += idBytes;
    bytes.set(head.traits, at);
    at += head.traits.length;
    const keyBytes = message.key === null ? 0 : bytes.write(message.key, at, "utf8");
    at += keyBytes;
    if (extra.length > 0) bytes.set(extra, at);
    at += extra.length;
    if (native.length > 0) bytes.set(native, at);
    at += native.length;
    bytes.set(message.body, at);
    view.setUint8(start + AT.format, FORMAT);
    view.setUint8(start + AT.flags, flagsOf(row));
    view.setUint16(start + AT.head, head.head.length, true);
    view.setUint16(start + AT.id, idBytes, true);
    view.setUint16(start + AT.spare, 0, true);
    view.setUint32(start + AT.traits, head.traits.length, true);
    view.setUint32(start + AT.key, keyBytes, true);
    view.setUint32(start + AT.extra, extra.length, true);
    view.setUint32(start + AT.native, native.length, true);
    view.setInt32(start + AT.slot, row.slot ?? -1, true);
    view.setInt32(start + AT.lane, row.lane ?? 0, true);
    view.setUint32(start + AT.attempt, message.attempt, true);
    view.setUint32(start + AT.dedupeFor, head.dedupeFor, true);
    view.setFloat64(start + AT.seq, message.seq, true);
    view.setFloat64(start + AT.time, message.time, true);
    return at + message.body.length;
  }

  /** ASCII nearly always: a call into the encoder would cost more than the walk. @returns its bytes. */
  #text(text: string, at: number): number {
    const { bytes } = this;
    let length = 0;
    for (; length < text.length; length++) {
      const unit = text.charCodeAt(length);
      if (unit >= 0x80) return length + bytes.write(text.slice(length), at + length, "utf8");
      bytes[at + length] = unit;
    }
    return length;
  }
}

/** Buffers that come back from the worker: a new one for each would be pages from the system, and work for the collector. */
export class FreeBuffers {
  readonly #free: ArrayBuffer[] = [];

  get(): ArrayBuffer {
    return this.#free.pop() ?? new ArrayBuffer(BATCH_BYTES);
  }

  back(buffer: ArrayBuffer): void {
    if (buffer.byteLength === BATCH_BYTES && this.#free.length < MOST_FREE) this.#free.push(buffer);
  }
}

/** A batch that this row fits into, however large it is, and more like it. */
export function batchFor(row: NewRow, heads: Heads, free: FreeBuffers): Batch {
  const batch = new Batch(free.get(), true);
  return batch.add(row, heads) ? batch : batchAlone(row, heads, BATCH_BYTES);
}

/** A batch for this row, which stands for itself, not much larger than it but for the room to spare. */
export function batchAlone(row: NewRow, heads: Heads, spare = 1_024): Batch {
  const { message } = row;
  const texts = JSON.stringify([
    message.headers,
    message.correlationId,
    message.causationId,
    message.id,
    message.key,
    message.type,
    message.contentType,
    message.contentEncoding,
    message.producer,
    message.run,
    message.topic,
    row.destination,
  ]).length;
  const batch = new Batch(new ArrayBuffer(spare + message.body.length + 3 * texts + nativeOf(row).length), false);
  if (!batch.add(row, heads))
    throw new TallyError("store", "a message does not fit the size that was computed for it", { id: message.id });
  return batch;
}

/** @throws TallyError `bad-message` when the row cannot be stored as it is. */
export function checkRow(row: NewRow): void {
  const { message } = row;
  if (message.native !== null) nativeOf(row);
  if (
    message.id.length > MOST_ID ||
    message.topic.length + message.producer.length + row.destination.length > MOST_ID
  ) {
    throw new TallyError("bad-message", "id, topic, producer or destination is too long to be stored");
  }
}

/** Whether this is one like most, with what fits the numbers of a short record. */
function isCommon({ lane, message: { id, key, native, attempt, body } }: NewRow): boolean {
  return (
    body.length <= MOST_SHORT_BODY &&
    lane === null &&
    native === null &&
    id.length <= MOST_SHORT_ID &&
    (key === null || key.length <= MOST_SHORT_KEY) &&
    attempt <= 0xffff
  );
}

function flagsOf({ doubtful, lane, message }: NewRow): number {
  return (
    (message.ordered ? FLAG.ordered : 0) |
    (doubtful ? FLAG.doubtful : 0) |
    (message.key === null ? 0 : FLAG.key) |
    (lane === null ? 0 : FLAG.lane)
  );
}

function extraOf({ message }: NewRow): Uint8Array {
  const { delayMs } = message;
  let any = message.correlationId !== null || message.causationId !== null || delayMs > 0;
  for (const name in message.headers) {
    if (Object.hasOwn(message.headers, name)) {
      any = true;
      break;
    }
  }
  if (!any) return NO_BYTES;
  const extra = [message.headers, message.correlationId, message.causationId];
  return encoder.encode(JSON.stringify(delayMs > 0 ? [...extra, delayMs] : extra));
}

function nativeOf({ message }: NewRow): Uint8Array {
  if (message.native === null) return NO_BYTES;
  try {
    return serialize(message.native);
  } catch (cause) {
    throw new TallyError("bad-message", "native holds a value that cannot be stored", { id: message.id, cause });
  }
}
