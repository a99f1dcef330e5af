import { damaged, repeat } from "./snappy.ts";

const MAGIC = 0x184d2204;
/** Bits of the frame's flags. */
const FLAG = { blockChecksum: 0x10, size: 0x08, contentChecksum: 0x04, dictionary: 0x01 } as const;
const STORED = 0x8000_0000;
const FIRST = 65_536;
const LEAST_MATCH = 4;

/**
 * LZ4 frames, reading only. Checksums are passed over: the broker's own of the whole batch is no business of the client's
 * either.
 * @throws RangeError when it becomes more than `most` bytes: it stops there; Error where it is damaged
 */
export function unlz4(bytes: Buffer, most: number): Buffer {
  if (bytes.length < 7 || bytes.readUInt32LE(0) !== MAGIC) throw damaged();
  const flags = bytes[4]!;
  if (flags >> 6 !== 1 || (flags & FLAG.dictionary) !== 0) throw damaged();
  let at = 6 + ((flags & FLAG.size) === 0 ? 0 : 8) + 1;
  const out = new Growing(most);
  for (;;) {
    if (at + 4 > bytes.length) throw damaged();
    const size = bytes.readUInt32LE(at);
    at += 4;
    if (size === 0) return out.bytes();
    const length = size & ~STORED;
    if (at + length > bytes.length) throw damaged();
    const block = bytes.subarray(at, at + length);
    if (size >= STORED) out.put(block);
    else unblock(block, out);
    at += length + ((flags & FLAG.blockChecksum) === 0 ? 0 : 4);
  }
}

function unblock(block: Buffer, out: Growing): void {
  let at = 0;
  const more = (nibble: number): number => {
    if (nibble < 15) return nibble;
    for (let sum = nibble; ;) {
      const byte = block[at++];
      if (byte === undefined) throw damaged();
      sum += byte;
      if (byte < 255) return sum;
    }
  };
  while (at < block.length) {
    const token = block[at++]!;
    const literals = more(token >> 4);
    if (at + literals > block.length) throw damaged();
    out.put(block.subarray(at, at + literals));
    at += literals;
    // The last sequence has no match.
    if (at === block.length) return;
    if (at + 2 > block.length) throw damaged();
    const back = block.readUInt16LE(at);
    at += 2;
    out.repeat(back, more(token & 15) + LEAST_MATCH);
  }
}

/** Output of unknown length. */
class Growing {
  readonly #most: number;
  #out: Buffer;
  #made = 0;

  constructor(most: number) {
    this.#most = most;
    this.#out = Buffer.allocUnsafe(Math.min(most, FIRST));
  }

  put(bytes: Buffer): void {
    this.#room(bytes.length);
    bytes.copy(this.#out, this.#made);
    this.#made += bytes.length;
  }

  repeat(back: number, run: number): void {
    this.#room(run);
    this.#made = repeat(this.#out, this.#made, back, run);
  }

  bytes(): Buffer {
    return this.#out.subarray(0, this.#made);
  }

  #room(more: number): void {
    const needed = this.#made + more;
    if (needed <= this.#out.length) return;
    if (needed > this.#most) throw new RangeError(`more than ${this.#most} bytes`);
    const grown = Buffer.allocUnsafe(Math.min(this.#most, Math.max(needed, 2 * this.#out.length)));
    this.#out.copy(grown, 0, 0, this.#made);
    this.#out = grown;
  }
}
