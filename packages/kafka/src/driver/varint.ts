// Whole numbers as Kafka writes those of its records: seven bits a byte, after zigzag. Lengths, counts and offsets are never
// negative, so that zigzag is twice the number.

/** Zigzag of -1: as a length it says that there is nothing. */
export const NOTHING = 1;

/** In bytes, of a number from 0 on. */
export function varintLength(n: number): number {
  return n < 64 ? 1 : n < 8_192 ? 2 : n < 1_048_576 ? 3 : n < 134_217_728 ? 4 : 5;
}

/** Gives where it ends. */
export function writeVarint(bytes: Buffer, from: number, n: number): number {
  let at = from;
  let left = n * 2;
  for (; left > 127; left >>>= 7) bytes[at++] = (left & 127) | 128;
  bytes[at++] = left;
  return at;
}
