/**
 * Writes AMQP frames (specification 0-9-1, 2.3.5 and 4.2) into chunks that are handed over whole: many small messages
 * cost one buffer and one write. What was handed over is never written again; the rest of a chunk serves the next call.
 */
export class FrameBuffer {
  readonly #write: (bytes: Uint8Array) => void;
  bytes: Buffer = Buffer.allocUnsafeSlow(CHUNK);
  /** Where the next byte goes; whoever made room may move it. */
  at = 0;
  #from = 0;

  constructor(write: (bytes: Uint8Array) => void) {
    this.#write = write;
  }

  /** Makes sure that `size` more bytes fit without a break between them. */
  room(size: number): void {
    if (this.at + size <= this.bytes.length) return;
    this.flush();
    this.bytes = Buffer.allocUnsafeSlow(Math.max(CHUNK, size));
    this.at = 0;
    this.#from = 0;
  }

  /** Hands over all that was written. */
  flush(): void {
    if (this.at === this.#from) return;
    const written = this.bytes.subarray(this.#from, this.at);
    this.#from = this.at;
    this.#write(written);
  }

  u8(value: number): void {
    this.bytes[this.at++] = value;
  }

  u16(value: number): void {
    this.bytes[this.at++] = value >>> 8;
    this.bytes[this.at++] = value;
  }

  u32(value: number): void {
    putU32(this.bytes, this.at, value);
    this.at += 4;
  }

  /** Up to 2^53. */
  u64(value: number): void {
    this.u32(Math.floor(value / 4_294_967_296));
    this.u32(value >>> 0);
  }

  raw(bytes: Uint8Array): void {
    this.bytes.set(bytes, this.at);
    this.at += bytes.length;
  }

  /** Text without its length: UTF-8. Room for three bytes a character is the caller's to make. */
  text(text: string): void {
    const { bytes } = this;
    const length = text.length;
    let at = this.at;
    // Ids, keys and digits are short and plain: a loop beats the call into the encoder.
    if (length <= 64) {
      let i = 0;
      for (; i < length; i++) {
        const unit = text.charCodeAt(i);
        if (unit > 0x7f) break;
        bytes[at++] = unit;
      }
      if (i === length) {
        this.at = at;
        return;
      }
      at = this.at;
    }
    this.at = at + bytes.write(text, at, "utf8");
  }

  /** A short string: its length in one byte. False, and nothing written, when it has more than 255 bytes. */
  short(text: string): boolean {
    const start = this.at++;
    if (text.length <= 255) {
      this.text(text);
      const length = this.at - start - 1;
      if (length <= 255) {
        this.bytes[start] = length;
        return true;
      }
    }
    this.at = start;
    return false;
  }

  /** A long string as a value in a table: its type and its length in four bytes. */
  longValue(text: string): void {
    this.u8(LONG_STRING);
    const start = this.at;
    this.at += 4;
    this.text(text);
    putU32(this.bytes, start, this.at - start - 4);
  }

  /** Content in as many body frames as it takes; bodies above {@link COPY_BELOW} travel without being copied. */
  body(channel: number, body: Uint8Array, frameMax: number): void {
    const most = frameMax - FRAME_OVERHEAD;
    for (let from = 0; from < body.length; from += most) {
      const size = Math.min(most, body.length - from);
      const copied = size < COPY_BELOW;
      this.room(FRAME_OVERHEAD + (copied ? size : 0));
      this.u8(BODY);
      this.u16(channel);
      this.u32(size);
      const part = from === 0 && size === body.length ? body : body.subarray(from, from + size);
      if (copied) this.raw(part);
      else {
        this.flush();
        this.#write(part);
      }
      this.u8(FRAME_END);
    }
  }
}

const CHUNK = 64 * 1024;
const COPY_BELOW = 16 * 1024;
const LONG_STRING = 0x53; // "S"
const BODY = 3;
export const METHOD = 1;
export const HEADER = 2;
export const FRAME_END = 0xce;
/** Type, channel and size before a frame's payload, and the end mark after it. */
export const FRAME_OVERHEAD = 8;

export function putU32(bytes: Uint8Array, at: number, value: number): void {
  bytes[at] = value >>> 24;
  bytes[at + 1] = value >>> 16;
  bytes[at + 2] = value >>> 8;
  bytes[at + 3] = value;
}
