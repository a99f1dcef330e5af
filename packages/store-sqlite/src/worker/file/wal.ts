import { closeSync, copyFileSync, fstatSync, openSync, readSync } from "node:fs";
import { lstat } from "./place.ts";

const HEADER = 32;
const FRAME = 24;

/**
 * Frames of a write-ahead log that lie behind a broken one and belong to the same generation. SQLite recovers up to the
 * broken frame and says nothing: what a power cut leaves looks just so (frames that nobody was told about), and so does
 * a flipped bit in front of commits that were acknowledged.
 *
 * Only to be called while nobody has the store open.
 */
export function lostFrames(path: string): number {
  if (lstat(`${path}-wal`) === null) return 0;
  const file = openSync(`${path}-wal`, "r");
  try {
    const { size } = fstatSync(file);
    const header = Buffer.alloc(HEADER);
    if (size < HEADER + FRAME || readSync(file, header, 0, HEADER, 0) < HEADER) return 0;
    const magic = header.readUInt32BE(0);
    const pageSize = header.readUInt32BE(8);
    const big = (magic & 1) === 1;
    if (magic >>> 1 !== 0x377f0682 >>> 1 || pageSize < 512 || pageSize > 65_536) return wholeFrames(size, 16_384);
    const sum = new Sum(big);
    sum.add(header.subarray(0, 24));
    if (!sum.is(header, 24)) return wholeFrames(size, pageSize);
    return walk(file, size, pageSize, header, sum);
  } finally {
    closeSync(file);
  }
}

/** Keeps the log as it is, before SQLite recovers from it and writes over it. */
export function keepLog(path: string, as: string): void {
  copyFileSync(`${path}-wal`, as);
}

function walk(file: number, size: number, pageSize: number, header: Buffer, sum: Sum): number {
  const frame = Buffer.alloc(FRAME + pageSize);
  let lost = 0;
  let broken = false;
  for (let at = HEADER; at + frame.length <= size; at += frame.length) {
    readSync(file, frame, 0, frame.length, at);
    // Another salt: left from before the log was begun anew.
    const ours = frame.compare(header, 16, 24, 8, 16) === 0;
    if (broken) {
      if (ours) lost++;
      continue;
    }
    if (!ours) return ownFramesFrom(file, size, at + frame.length, frame, header);
    sum.add(frame.subarray(0, 8));
    sum.add(frame.subarray(FRAME));
    if (!sum.is(frame, 16)) broken = true;
  }
  return lost;
}

/** A frame of another generation may also be ours with a damaged salt: then more of ours follow. */
function ownFramesFrom(file: number, size: number, from: number, frame: Buffer, header: Buffer): number {
  let ours = 0;
  for (let at = from; at + frame.length <= size; at += frame.length) {
    readSync(file, frame, 0, FRAME, at);
    if (frame.compare(header, 16, 24, 8, 16) === 0) ours++;
  }
  return ours;
}

function wholeFrames(size: number, pageSize: number): number {
  return Math.floor((size - HEADER) / (FRAME + pageSize));
}

/** The running checksum of SQLite's file format, section 4.2. */
class Sum {
  readonly #big: boolean;
  #a = 0;
  #b = 0;

  constructor(big: boolean) {
    this.#big = big;
  }

  add(bytes: Buffer): void {
    for (let at = 0; at + 8 <= bytes.length; at += 8) {
      this.#a = (this.#a + this.#word(bytes, at) + this.#b) >>> 0;
      this.#b = (this.#b + this.#word(bytes, at + 4) + this.#a) >>> 0;
    }
  }

  is(bytes: Buffer, at: number): boolean {
    return bytes.readUInt32BE(at) === this.#a && bytes.readUInt32BE(at + 4) === this.#b;
  }

  #word(bytes: Buffer, at: number): number {
    return this.#big ? bytes.readUInt32BE(at) : bytes.readUInt32LE(at);
  }
}
