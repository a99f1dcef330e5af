import { serialize } from "node:v8";
import { type NewRow, TallyError } from "@tallymq/core/spi";
import { AT, FLAG, FORMAT, FRAME, PACK_BYTES } from "./layout.ts";

/** Packs that are kept for later. */
const MOST_FREE = 8;

/** UTF-16 units whose bytes are counted in 16 bits, escapes included. */
const MOST_ID = 10_000;
const NO_BYTES: Uint8Array = new Uint8Array(0);
const encoder = new TextEncoder();

/** Rows on their way to the worker: records one behind the other in one transferable buffer. */
export class Pack {
  rows = 0;
  used = 0;
  readonly bytes: Buffer<ArrayBuffer>;
  readonly #view: DataView;

  /** @param buffer What is in it is written over. */
  constructor(buffer: ArrayBuffer) {
    this.bytes = Buffer.from(buffer);
    this.#view = new DataView(buffer);
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
    // 3 bytes are the most that one UTF-16 unit takes.
    const most =
      FRAME +
      AT.texts +
      head.head.length +
      head.traits.length +
      3 * (message.id.length + (message.key?.length ?? 0)) +
      extra.length +
      native.length +
      message.body.length;
    if (this.used + most > this.bytes.length) return false;
    const [view, bytes] = [this.#view, this.bytes];
    const start = this.used + FRAME;
    let at = start + AT.texts;
    bytes.set(head.head, at);
    at += head.head.length;

    // ASCII nearly always: a call into the encoder would cost more than the walk.
    const { id } = message;
    let idBytes = 0;
    for (; idBytes < id.length; idBytes++) {
      const unit = id.charCodeAt(idBytes);
      if (unit >= 0x80) break;
      bytes[at + idBytes] = unit;
    }
    if (idBytes < id.length) idBytes += bytes.write(id.slice(idBytes), at + idBytes, "utf8");
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
    at += message.body.length;

    view.setUint8(start + AT.format, FORMAT);
    view.setUint8(
      start + AT.flags,
      (message.ordered ? FLAG.ordered : 0) |
        (row.doubtful ? FLAG.doubtful : 0) |
        (message.key === null ? 0 : FLAG.key) |
        (row.lane === null ? 0 : FLAG.lane),
    );
    view.setUint16(start + AT.head, head.head.length, true);
    view.setUint16(start + AT.id, idBytes, true);
    view.setUint32(start + AT.traits, head.traits.length, true);
    view.setUint32(start + AT.key, keyBytes, true);
    view.setUint32(start + AT.extra, extra.length, true);
    view.setUint32(start + AT.native, native.length, true);
    view.setInt32(start + AT.slot, row.slot ?? -1, true);
    view.setInt32(start + AT.lane, row.lane ?? 0, true);
    view.setUint32(start + AT.attempt, message.attempt, true);
    view.setUint32(start + AT.dedupeFor, Math.floor((row.dedupeForMs ?? 0) / 1_000), true);
    view.setFloat64(start + AT.seq, message.seq, true);
    view.setFloat64(start + AT.time, message.time, true);
    view.setUint32(start - FRAME, at - start, true);
    this.used = at;
    this.rows++;
    return true;
  }
}

/** Packs that come back from the worker: a new one for each would be pages from the system, and work for the collector. */
export class Packs {
  readonly #free: ArrayBuffer[] = [];

  get(): ArrayBuffer {
    return this.#free.pop() ?? new ArrayBuffer(PACK_BYTES);
  }

  back(buffer: ArrayBuffer): void {
    if (buffer.byteLength === PACK_BYTES && this.#free.length < MOST_FREE) this.#free.push(buffer);
  }
}

/** A pack that this row fits into, however large it is. */
export function packFor(row: NewRow, heads: Heads, packs: Packs = new Packs()): Pack {
  const pack = new Pack(packs.get());
  if (pack.add(row, heads)) return pack;
  return packAlone(row, heads, PACK_BYTES);
}

/** A pack for this row and no other, not much larger than it. */
export function packAlone(row: NewRow, heads: Heads, spare = 1_024): Pack {
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
  const pack = new Pack(new ArrayBuffer(spare + message.body.length + 3 * texts + nativeOf(row).length));
  if (!pack.add(row, heads))
    throw new TallyError("store", "a message does not fit the size that was computed for it", { id: message.id });
  return pack;
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

interface Head {
  readonly head: Uint8Array;
  readonly traits: Uint8Array;
}

/** What the messages of one topic have in common, encoded once. */
export class Heads {
  #row: NewRow | null = null;
  #head: Head | null = null;

  of(row: NewRow): Head {
    const [last, { message }] = [this.#row, row];
    if (
      this.#head !== null &&
      last !== null &&
      last.destination === row.destination &&
      last.message.topic === message.topic &&
      last.message.producer === message.producer &&
      last.message.run === message.run &&
      last.message.type === message.type &&
      last.message.contentType === message.contentType &&
      last.message.contentEncoding === message.contentEncoding
    ) {
      return this.#head;
    }
    const head = encoder.encode(JSON.stringify([row.destination, message.producer, message.topic]));
    const traits = encoder.encode(
      JSON.stringify([message.run, message.type, message.contentType, message.contentEncoding]),
    );
    // Without the body: it would be held for as long as the topic does not change.
    this.#row = { ...row, message: { ...message, body: NO_BYTES, native: null } };
    return (this.#head = { head, traits });
  }
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
