/** Of 256 numbers for each of eight bytes that are taken in one step; the table of the last byte is the plain one. */
const [T0, T1, T2, T3, T4, T5, T6, T7] = tables();

/** CRC-32C (Castagnoli) of what lies from `from` on, as a signed number: record batches carry it. */
export function crc32c(bytes: Uint8Array, from: number): number {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = bytes.byteLength;
  let at = from;
  let crc = -1;
  for (; at + 8 <= end; at += 8) {
    const low = view.getInt32(at, true) ^ crc;
    const high = view.getInt32(at + 4, true);
    crc =
      T7[low & 255]! ^
      T6[(low >>> 8) & 255]! ^
      T5[(low >>> 16) & 255]! ^
      T4[low >>> 24]! ^
      T3[high & 255]! ^
      T2[(high >>> 8) & 255]! ^
      T1[(high >>> 16) & 255]! ^
      T0[high >>> 24]!;
  }
  for (; at < end; at++) crc = T0[(crc ^ bytes[at]!) & 255]! ^ (crc >>> 8);
  return ~crc;
}

type Table = Int32Array;

function tables(): [Table, Table, Table, Table, Table, Table, Table, Table] {
  const all = Array.from({ length: 8 }, () => new Int32Array(256));
  const plain = all[0]!;
  for (let n = 0; n < 256; n++) {
    let crc = n;
    for (let bit = 0; bit < 8; bit++) crc = (crc & 1) === 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
    plain[n] = crc;
  }
  // The same with one more byte of nothing behind it.
  for (let k = 1; k < 8; k++)
    for (let n = 0; n < 256; n++) {
      const crc = all[k - 1]![n]!;
      all[k]![n] = plain[crc & 255]! ^ (crc >>> 8);
    }
  return all as [Table, Table, Table, Table, Table, Table, Table, Table];
}
