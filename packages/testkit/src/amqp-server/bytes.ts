/** Writes AMQP's elementary types, big-endian, into a buffer that grows. */
export class ByteWriter {
  #buffer: Buffer = Buffer.alloc(256);
  #at = 0;

  get bytes(): Buffer {
    return Buffer.from(this.#buffer.subarray(0, this.#at));
  }

  u8(value: number): void {
    this.#at = this.#room(1).writeUInt8(value & 0xff, this.#at);
  }
  u16(value: number): void {
    this.#at = this.#room(2).writeUInt16BE(value & 0xffff, this.#at);
  }
  u32(value: number): void {
    this.#at = this.#room(4).writeUInt32BE(value >>> 0, this.#at);
  }
  /** Signed and unsigned 64-bit numbers share their bytes. */
  u64(value: number | bigint): void {
    this.#at = this.#room(8).writeBigUInt64BE(BigInt.asUintN(64, BigInt(value)), this.#at);
  }
  f32(value: number): void {
    this.#at = this.#room(4).writeFloatBE(value, this.#at);
  }
  f64(value: number): void {
    this.#at = this.#room(8).writeDoubleBE(value, this.#at);
  }
  raw(bytes: Uint8Array): void {
    this.#room(bytes.length).set(bytes, this.#at);
    this.#at += bytes.length;
  }
  /** @throws RangeError over 255 bytes of UTF-8 */
  shortText(text: string): void {
    const bytes = Buffer.from(text);
    if (bytes.length > 255) throw new RangeError("a short string of AMQP has at most 255 bytes");
    this.u8(bytes.length);
    this.raw(bytes);
  }
  /** What `body` writes, behind its length in 32 bits. */
  sized(body: (inner: ByteWriter) => void): void {
    const inner = new ByteWriter();
    body(inner);
    this.u32(inner.#at);
    this.raw(inner.bytes);
  }

  #room(more: number): Buffer {
    if (this.#at + more > this.#buffer.length) {
      const larger = Buffer.alloc(Math.max(this.#buffer.length * 2, this.#at + more));
      this.#buffer.copy(larger, 0, 0, this.#at);
      this.#buffer = larger;
    }
    return this.#buffer;
  }
}

/** Reads them back; @throws RangeError where the bytes end too early. */
export class ByteReader {
  readonly #buffer: Buffer;
  #at = 0;

  constructor(buffer: Buffer) {
    this.#buffer = buffer;
  }

  get done(): boolean {
    return this.#at >= this.#buffer.length;
  }

  u8(): number {
    return this.#buffer.readUInt8(this.#step(1));
  }
  u16(): number {
    return this.#buffer.readUInt16BE(this.#step(2));
  }
  u32(): number {
    return this.#buffer.readUInt32BE(this.#step(4));
  }
  /** A bigint only where a number would not be exact. */
  u64(): number | bigint {
    return exact(this.#buffer.readBigUInt64BE(this.#step(8)));
  }
  i8(): number {
    return this.#buffer.readInt8(this.#step(1));
  }
  i16(): number {
    return this.#buffer.readInt16BE(this.#step(2));
  }
  i32(): number {
    return this.#buffer.readInt32BE(this.#step(4));
  }
  i64(): number | bigint {
    return exact(this.#buffer.readBigInt64BE(this.#step(8)));
  }
  f32(): number {
    return this.#buffer.readFloatBE(this.#step(4));
  }
  f64(): number {
    return this.#buffer.readDoubleBE(this.#step(8));
  }
  raw(length: number): Buffer {
    const from = this.#step(length);
    return this.#buffer.subarray(from, from + length);
  }
  shortText(): string {
    return this.raw(this.u8()).toString("utf8");
  }
  sized(): Buffer {
    return this.raw(this.u32());
  }

  #step(length: number): number {
    const from = this.#at;
    if (from + length > this.#buffer.length) throw new RangeError("the bytes end within a value");
    this.#at = from + length;
    return from;
  }
}

function exact(value: bigint): number | bigint {
  return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}
