import { crc32 } from "node:zlib";

/*
 * The log file: two copies of a head, then records.
 *
 *   head    "TALLYLOG" · 16 random bytes (salt) · u32 crc of both
 *   record  u32 mark · u32 length of the payload · u32 crc of the payload · u32 crc of the 12 bytes before · payload
 *
 * The crc of the record's own head tells a torn tail (a good head, too few bytes behind it) from damage. After damage,
 * the next mark whose two crcs hold is where reading goes on. Crcs start from the salt, so that a message whose body
 * imitates a record is not taken for one.
 */

const MAGIC = Buffer.from("TALLYLOG");
const HEAD = 28;
/** Bytes before the first record. */
export const HEADS: number = 2 * HEAD;
/** Bytes before a record's payload. */
export const RECORD_HEAD = 16;
const MARK = Buffer.from([0xa7, 0x1f, 0x5e, 0xc3]);

export function encodeHeads(salt: Uint8Array): Buffer {
  const head = Buffer.concat([MAGIC, salt, Buffer.alloc(4)]);
  head.writeUInt32BE(crc32(head.subarray(0, 24)), 24);
  return Buffer.concat([head, head]);
}

/** The salt, from whichever copy of the head is whole; null when neither is. */
export function readSalt(file: Buffer): Buffer | null {
  for (const at of [0, HEAD]) {
    const head = file.subarray(at, at + HEAD);
    if (
      head.length === HEAD &&
      head.subarray(0, 8).equals(MAGIC) &&
      crc32(head.subarray(0, 24)) === head.readUInt32BE(24)
    )
      return head.subarray(8, 24);
  }
  return null;
}

/** True if both copies of the head are whole. */
export function headsAreWhole(file: Buffer): boolean {
  const salt = readSalt(file);
  return salt !== null && encodeHeads(salt).equals(file.subarray(0, HEADS));
}

/** Writes records under one salt. */
export function recordWriter(salt: Uint8Array): (parts: readonly Uint8Array[]) => Buffer {
  const seed = crc32(salt);
  return (parts) => {
    let length = 0;
    for (const part of parts) length += part.length;
    const record = Buffer.allocUnsafe(RECORD_HEAD + length);
    record.set(MARK, 0);
    record.writeUInt32BE(length, 4);
    let at = RECORD_HEAD;
    for (const part of parts) {
      record.set(part, at);
      at += part.length;
    }
    record.writeUInt32BE(crc32(record.subarray(RECORD_HEAD), seed), 8);
    record.writeUInt32BE(crc32(record.subarray(0, 12), seed), 12);
    return record;
  };
}

export interface ScanResult {
  readonly payloads: readonly Buffer[];
  /** Stretches that no record verifies, as [from, to) in bytes. */
  readonly damaged: readonly { readonly from: number; readonly to: number }[];
  /** Where a record begins that was still being written; the file's length when there is none. */
  readonly end: number;
}

/** Reads every record that verifies. */
export function scan(file: Buffer, salt: Uint8Array): ScanResult {
  const seed = crc32(salt);
  const payloads: Buffer[] = [];
  const damaged: { from: number; to: number }[] = [];
  let at = Math.min(HEADS, file.length);
  while (at < file.length) {
    const record = readRecord(file, at, seed);
    if (typeof record === "object") {
      payloads.push(record);
      at += RECORD_HEAD + record.length;
      continue;
    }
    // Only a whole good head with nothing but the end of the file behind it, or a piece of one, is a torn tail: anything
    // else may have been a message that was confirmed.
    if (record === "torn") break;
    const next = resync(file, at + 1, seed);
    damaged.push({ from: at, to: next });
    at = next;
  }
  return { payloads, damaged, end: at };
}

function readRecord(file: Buffer, at: number, seed: number): Buffer | "torn" | "damaged" {
  const left = file.length - at;
  if (left < RECORD_HEAD) return startsLikeMark(file, at, left) ? "torn" : "damaged";
  if (
    file.compare(MARK, 0, 4, at, at + 4) !== 0 ||
    crc32(file.subarray(at, at + 12), seed) !== file.readUInt32BE(at + 12)
  )
    return "damaged";
  const length = file.readUInt32BE(at + 4);
  if (left < RECORD_HEAD + length) return "torn";
  const payload = file.subarray(at + RECORD_HEAD, at + RECORD_HEAD + length);
  return crc32(payload, seed) === file.readUInt32BE(at + 8) ? payload : "damaged";
}

function startsLikeMark(file: Buffer, at: number, left: number): boolean {
  const known = Math.min(4, left);
  return file.compare(MARK, 0, known, at, at + known) === 0;
}

/** The next place from which a record verifies, or the end of the file. */
function resync(file: Buffer, from: number, seed: number): number {
  for (let at = file.indexOf(MARK, from); at >= 0; at = file.indexOf(MARK, at + 1)) {
    const record = readRecord(file, at, seed);
    // A torn one counts if its head is whole: then it is our own last record, and no part of the damage.
    if (typeof record === "object" || (record === "torn" && file.length - at >= RECORD_HEAD)) return at;
  }
  return file.length;
}
