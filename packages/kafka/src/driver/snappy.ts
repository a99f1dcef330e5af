const XERIAL = Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0]);
/** The magic, two versions. */
const XERIAL_HEAD = 16;

/**
 * Snappy, reading only: as Java writes it (xerial's blocks, each with its length) and as the C library does (one block, bare).
 * @throws RangeError when it becomes more than `most` bytes, before any of them is made; Error where it is damaged
 */
export function unsnappy(bytes: Buffer, most: number): Buffer {
  if (!bytes.subarray(0, XERIAL.length).equals(XERIAL)) return block(bytes, most);
  const blocks: Buffer[] = [];
  let made = 0;
  for (let at = XERIAL_HEAD; at < bytes.length;) {
    if (at + 4 > bytes.length) throw damaged();
    const end = at + 4 + bytes.readUInt32BE(at);
    if (end > bytes.length) throw damaged();
    const one = block(bytes.subarray(at + 4, end), most - made);
    blocks.push(one);
    made += one.length;
    at = end;
  }
  return Buffer.concat(blocks, made);
}

function block(bytes: Buffer, most: number): Buffer {
  let at = 0;
  let length = 0;
  for (let shift = 0; ; shift += 7) {
    const byte = bytes[at++];
    if (byte === undefined || shift > 28) throw damaged();
    length += (byte & 0x7f) * 2 ** shift;
    if (byte < 0x80) break;
  }
  if (length > most) throw new RangeError(`more than ${most} bytes`);
  const out = Buffer.alloc(length);
  let made = 0;
  while (at < bytes.length) {
    const tag = bytes[at++]!;
    let run: number;
    let back = 0;
    switch (tag & 3) {
      case 0: {
        run = tag >> 2;
        // From 60 on it is the number of bytes that hold it.
        if (run >= 60) {
          const wide = run - 59;
          if (at + wide > bytes.length) throw damaged();
          run = bytes.readUIntLE(at, wide);
          at += wide;
        }
        run++;
        if (at + run > bytes.length) throw damaged();
        break;
      }
      case 1:
        run = ((tag >> 2) & 7) + 4;
        back = ((tag >> 5) << 8) | (bytes[at++] ?? 0);
        break;
      default: {
        run = (tag >> 2) + 1;
        const wide = (tag & 3) === 2 ? 2 : 4;
        if (at + wide > bytes.length) throw damaged();
        back = bytes.readUIntLE(at, wide);
        at += wide;
      }
    }
    if (made + run > length) throw damaged();
    if ((tag & 3) === 0) {
      bytes.copy(out, made, at, at + run);
      at += run;
      made += run;
    } else {
      made = repeat(out, made, back, run);
    }
  }
  if (made !== length) throw damaged();
  return out;
}

/** Copies what was made `back` bytes before; the two may overlap. */
export function repeat(out: Buffer, made: number, back: number, run: number): number {
  if (back === 0 || back > made) throw damaged();
  if (back >= run) {
    out.copyWithin(made, made - back, made - back + run);
    return made + run;
  }
  const end = made + run;
  for (let to = made; to < end; to++) out[to] = out[to - back]!;
  return end;
}

export function damaged(): Error {
  return new Error("damaged");
}
