import type { Incoming } from "@tallymq/core/spi";

/*
 * Frames between the broker process and its clients:
 *
 *   u32 length of the rest · u32 length of the header · header (JSON object with a string "t") · body (raw bytes)
 *
 * A connection begins with `hello`, which says what it is for: one sender, one receiver, or admin. Whatever does not
 * satisfy this page ends the connection, on both sides; nothing that arrives can do more.
 */

/** Header, JSON, in bytes. */
export const MAX_HEADER: number = 4 * 1024 * 1024;
/** A frame without its length field: one body of the largest size, or many small ones. */
export const MAX_FRAME: number = 16 * 1024 * 1024 + MAX_HEADER + 4;
/** Several messages share a frame up to about so many bytes. */
export const FRAME_GOAL: number = 256 * 1024;

export interface Frame {
  readonly header: Readonly<Record<string, unknown>>;
  readonly body: Uint8Array;
}

/** What arrived breaks the rules of this page. */
export class WireError extends Error {
  override readonly name: string = "WireError";
}

const NONE: readonly Uint8Array[] = [];

/** @param header JSON of an object. */
export function encodeFrame(header: string, bodies: readonly Uint8Array[] = NONE): Buffer {
  const headerLength = Buffer.byteLength(header);
  let length = 4 + headerLength;
  for (const body of bodies) length += body.length;
  const frame = Buffer.allocUnsafe(4 + length);
  frame.writeUInt32BE(length, 0);
  frame.writeUInt32BE(headerLength, 4);
  frame.write(header, 8);
  let at = 8 + headerLength;
  for (const body of bodies) {
    frame.set(body, at);
    at += body.length;
  }
  return frame;
}

/** Cuts a stream of bytes into frames. Holds at most one unfinished frame. */
export class FrameReader {
  #chunks: Uint8Array[] = [];
  #have = 0;
  #need = 4;

  /** @throws WireError */
  push(chunk: Uint8Array): Frame[] {
    this.#chunks.push(chunk);
    this.#have += chunk.length;
    if (this.#have < this.#need) return [];
    // Joined only when it completes something: a large frame in many chunks is copied once.
    const data = Buffer.concat(this.#chunks, this.#have);
    const frames: Frame[] = [];
    let at = 0;
    this.#need = 4;
    while (data.length - at >= 4) {
      const length = data.readUInt32BE(at);
      if (length < 4 || length > MAX_FRAME) throw new WireError(`a frame of ${length} bytes`);
      if (data.length - at < 4 + length) {
        this.#need = 4 + length;
        break;
      }
      frames.push(decode(data.subarray(at + 4, at + 4 + length)));
      at += 4 + length;
    }
    this.#chunks = at < data.length ? [data.subarray(at)] : [];
    this.#have = data.length - at;
    return frames;
  }
}

function decode(frame: Buffer): Frame {
  const headerLength = frame.readUInt32BE(0);
  if (headerLength > MAX_HEADER || headerLength > frame.length - 4)
    throw new WireError(`a header of ${headerLength} bytes`);
  let header: unknown;
  try {
    header = JSON.parse(frame.toString("utf8", 4, 4 + headerLength));
  } catch {
    throw new WireError("a header that is not JSON");
  }
  if (typeof header !== "object" || header === null || Array.isArray(header))
    throw new WireError("a header that is no object");
  return { header: header as Record<string, unknown>, body: frame.subarray(4 + headerLength) };
}

// ── messages: an array in the order of the fields, the body's length last ──

export function metaOf(m: Incoming | Omit<Incoming, "native">): unknown[] {
  return [
    m.id,
    m.producer,
    m.run,
    m.seq,
    m.topic,
    m.key,
    m.type,
    m.contentType,
    m.contentEncoding,
    m.time,
    m.attempt,
    m.correlationId,
    m.causationId,
    m.headers,
    m.body.length,
  ];
}

/** Reads one message whose body begins at `at`. @throws WireError */
export function readMessage(meta: unknown, bodies: Uint8Array, at: number): Incoming {
  if (!Array.isArray(meta) || meta.length !== 15) throw new WireError("a message with another number of fields");
  const length = whole(meta[14], 0, bodies.length - at);
  return {
    id: textOrNull(meta[0]),
    producer: textOrNull(meta[1]),
    run: textOrNull(meta[2]),
    seq: meta[3] === null ? null : whole(meta[3], 1, Number.MAX_SAFE_INTEGER),
    topic: text(meta[4]),
    key: textOrNull(meta[5]),
    type: textOrNull(meta[6]),
    contentType: textOrNull(meta[7]),
    contentEncoding: textOrNull(meta[8]),
    time: meta[9] === null ? null : finite(meta[9]),
    attempt: whole(meta[10], 1, 1_000_000),
    correlationId: textOrNull(meta[11]),
    causationId: textOrNull(meta[12]),
    headers: headersOf(meta[13]),
    // A copy: a view would keep the whole chunk that it came in.
    body: new Uint8Array(bodies.subarray(at, at + length)),
    native: null,
  };
}

function headersOf(value: unknown): Readonly<Record<string, string>> {
  if (typeof value !== "object" || value === null || Array.isArray(value))
    throw new WireError("headers that are no object");
  // No prototype: a header may be called "__proto__".
  const headers = Object.create(null) as Record<string, string>;
  for (const [name, v] of Object.entries(value)) headers[name] = text(v);
  return Object.freeze(headers);
}

// ── fields ──

export function text(value: unknown): string {
  if (typeof value === "string") return value;
  throw new WireError("a field that should be a string");
}

export function textOrNull(value: unknown): string | null {
  return value === null ? null : text(value);
}

export function flag(value: unknown): boolean {
  if (typeof value === "boolean") return value;
  throw new WireError("a field that should be true or false");
}

export function finite(value: unknown): number {
  if (typeof value === "number" && Number.isFinite(value)) return value;
  throw new WireError("a field that should be a number");
}

export function whole(value: unknown, min: number, max: number): number {
  if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
  throw new WireError(`a field that should be a whole number from ${min} to ${max}`);
}

export function list(value: unknown): readonly unknown[] {
  if (Array.isArray(value)) return value;
  throw new WireError("a field that should be a list");
}

/** Packs messages into as few frames as their size allows: `{"t":t,"m":[…]}` and the bodies. */
export function packFrames(
  t: string,
  messages: Iterable<{ readonly meta: string; readonly body: Uint8Array }>,
): Buffer[] {
  const frames: Buffer[] = [];
  let metas: string[] = [];
  let bodies: Uint8Array[] = [];
  let size = 0;
  const close = (): void => {
    if (metas.length > 0) frames.push(encodeFrame(`{"t":"${t}","m":[${metas.join(",")}]}`, bodies));
    metas = [];
    bodies = [];
    size = 0;
  };
  for (const { meta, body } of messages) {
    // Three bytes a unit of UTF-16 at most: an estimate that is never too low.
    const bytes = meta.length * 3 + body.length;
    if (size + bytes > FRAME_GOAL) close();
    metas.push(meta);
    bodies.push(body);
    size += bytes;
  }
  close();
  return frames;
}
