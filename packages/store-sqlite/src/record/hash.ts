/** Two multiplicative hashes side by side, continued byte by byte; together 53 bits. Not for adversaries: matches are compared. */
export interface Hash {
  a: number;
  b: number;
}

export function hashOf(bytes: Uint8Array): Hash {
  const hash = { a: 0x811c9dc5, b: 0x9e3779b9 };
  for (const byte of bytes) step(hash, byte);
  return hash;
}

export function step(hash: Hash, byte: number): void {
  hash.a = Math.imul(hash.a ^ byte, 0x01000193);
  hash.b = Math.imul(hash.b ^ byte, 0x85ebca6b) ^ (hash.b >>> 15);
}

/** A whole number in [0, 2^53): SQLite keeps it as an integer, JavaScript as a number. */
export function finish(a: number, b: number): number {
  const low = Math.imul(a ^ (a >>> 16), 0xc2b2ae35) ^ (b >>> 13);
  const high = Math.imul(b ^ (b >>> 15), 0x27d4eb2f) ^ (a >>> 11);
  return (high >>> 11) * 0x1_0000_0000 + (low >>> 0);
}
