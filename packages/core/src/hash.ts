const encoder = new TextEncoder();

/**
 * 64 bits of a body: tells an id that was used for another message from a redelivery. Two halves of 32 bits, each mixing
 * four bytes at a time, with other constants. The values are stored with the marks: this function never changes.
 *
 * No cryptographic hash, as it guards against mistakes, not against an enemy: who may publish under a producer's name and
 * finds a second body of the same hash gains that this body is taken for a duplicate, which the first body would be too.
 */
export function bodyHash(body: Uint8Array): bigint {
  const { byteLength: length } = body;
  const words = length >>> 2;
  const view = new DataView(body.buffer, body.byteOffset, length);
  let a = 0x3c6ef372 ^ length;
  let b = 0x510e527f ^ length;
  for (let i = 0; i < words; i++) {
    const word = view.getInt32(i << 2, true);
    a = Math.imul(turn(a ^ Math.imul(word, 0x2c1b3c6d), 13), 5) + 0x1f83d9ab;
    b = Math.imul(turn(b + Math.imul(word, 0x297a2d39), 17), 9) ^ 0x5be0cd19;
  }
  let rest = 0;
  for (let i = words << 2; i < length; i++) rest = (rest << 8) | (body[i] ?? 0);
  a = spread(a ^ Math.imul(rest, 0x2c1b3c6d));
  b = spread((b + Math.imul(rest, 0x297a2d39)) ^ a);
  return (BigInt(a >>> 0) << 32n) | BigInt(b >>> 0);
}

/** The same, of a text in UTF-8. */
export function textHash(text: string): bigint {
  return bodyHash(encoder.encode(text));
}

function turn(value: number, by: number): number {
  return (value << by) | (value >>> (32 - by));
}

/** Lets each bit of the value reach all others. */
function spread(value: number): number {
  let v = value;
  v = Math.imul(v ^ (v >>> 16), 0x7feb352d);
  v = Math.imul(v ^ (v >>> 15), 0x846ca68b);
  return v ^ (v >>> 16);
}
