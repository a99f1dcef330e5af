/**
 * The hash by which Java's producers choose a partition, so that a key is in the same one whoever sends it. MurmurHash2
 * over 32-bit integers that wrap, seeded as Kafka seeds it.
 */
export function murmur2(bytes: Uint8Array): number {
  const M = 0x5bd1e995;
  const { length } = bytes;
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

/** As Java's default partitioner does it for a key. */
export function partitionOf(key: Uint8Array, partitions: number): number {
  return (murmur2(key) & 0x7fffffff) % partitions;
}
