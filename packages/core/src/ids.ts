import type { Random } from "./clock.ts";

const HEX: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** 128 random bits as 32 hex digits. */
export function randomId(random: Random): string {
  return hex(random.bytes(16), 0, 16);
}

/** The last id of each source of randomness: its millisecond, and the counter in it. */
const lasts: WeakMap<Random, { ms: number; count: number }> = new WeakMap();
/** A clock that goes back by more is believed: ids rise from there. */
const CLOCK_BACK_MS = 1_000;
const MOST_COUNT = 0xfff;

/**
 * A UUIDv7 (RFC 9562, method 1): 48 bits of wall-clock milliseconds, 12 bits that count within one, 62 random bits. Sorts by time in
 * any database index, and rises from one call to the next: an outbox stores together what rises.
 */
export function uuidV7(wall: number, random: Random): string {
  const b = random.bytes(10);
  let last = lasts.get(random);
  if (last === undefined) lasts.set(random, (last = { ms: -1, count: 0 }));
  const now = Math.floor(wall);
  if (now > last.ms || now < last.ms - CLOCK_BACK_MS) {
    last.ms = now;
    // The upper half is left to count in.
    last.count = (((b[0] ?? 0) & 0x07) << 8) | (b[1] ?? 0);
  } else if (++last.count > MOST_COUNT) {
    // More than two thousand in a millisecond: a little ahead of the clock.
    last.ms++;
    last.count = 0;
  }
  b[0] = 0x70 | (last.count >>> 8);
  b[1] = last.count & 0xff;
  b[2] = ((b[2] ?? 0) & 0x3f) | 0x80;
  const ms = last.ms.toString(16).padStart(12, "0");
  return `${ms.slice(0, 8)}-${ms.slice(8)}-${hex(b, 0, 2)}-${hex(b, 2, 4)}-${hex(b, 4, 10)}`;
}

function hex(bytes: Uint8Array, from: number, to: number): string {
  let out = "";
  for (let i = from; i < to; i++) out += HEX[bytes[i] ?? 0] ?? "";
  return out;
}
