import type { Random } from "./clock.ts";

const HEX: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** 128 random bits as 32 hex digits. */
export function randomId(random: Random): string {
  return hex(random.bytes(16), 0, 16);
}

/** A UUIDv7 (RFC 9562): 48 bits of wall-clock milliseconds, then random bits; sorts by time in any database index. */
export function uuidV7(wall: number, random: Random): string {
  const b = random.bytes(10);
  const ms = Math.floor(wall).toString(16).padStart(12, "0");
  b[0] = ((b[0] ?? 0) & 0x0f) | 0x70;
  b[2] = ((b[2] ?? 0) & 0x3f) | 0x80;
  return `${ms.slice(0, 8)}-${ms.slice(8)}-${hex(b, 0, 2)}-${hex(b, 2, 4)}-${hex(b, 4, 10)}`;
}

function hex(bytes: Uint8Array, from: number, to: number): string {
  let out = "";
  for (let i = from; i < to; i++) out += HEX[bytes[i] ?? 0] ?? "";
  return out;
}
