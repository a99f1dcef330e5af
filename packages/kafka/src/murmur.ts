const encoder = new TextEncoder();
const scratch = new Uint8Array(255);

/**
 * The hash by which Java's producers choose a partition, so that a key is in the same one whoever sends it. MurmurHash2
 * over 32-bit integers that wrap, seeded as Kafka seeds it.
 */
export function murmur2(bytes: Uint8Array, length: number = bytes.length): number {
  const M = 0x5bd1e995;
  let h = 0x9747b28c ^ length;
  let at = 0;
  for (; at + 4 <= length; at += 4) {
    let k = bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);
    k = Math.imul(k, M);
    k = Math.imul(k ^ (k >>> 24), M);
    h = Math.imul(h, M) ^ k;
  }
  const left = length - at;
  if (left === 3) h ^= bytes[at + 2]! << 16;
  if (left >= 2) h ^= bytes[at + 1]! << 8;
  if (left >= 1) h = Math.imul(h ^ bytes[at]!, M);
  h = Math.imul(h ^ (h >>> 13), M);
  return h ^ (h >>> 15);
}

/** As Java's default partitioner does it for a key; text is hashed as UTF-8. */
export function partitionOf(key: Uint8Array | string, partitions: number): number {
  return ((typeof key === "string" ? ofText(key) : murmur2(key)) & 0x7fffffff) % partitions;
}

/** Without bytes of its own for each key, which is nearly always short ASCII. */
function ofText(key: string): number {
  const { length } = key;
  if (length > scratch.length) return murmur2(encoder.encode(key));
  for (let at = 0; at < length; at++) {
    const unit = key.charCodeAt(at);
    if (unit > 127) return murmur2(encoder.encode(key));
    scratch[at] = unit;
  }
  return murmur2(scratch, length);
}
