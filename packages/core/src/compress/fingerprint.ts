import { bodyHash } from "../hash.ts";
import type { Incoming } from "../message.ts";

const GZIP_LEAST = 18;
const ZSTD_LEAST = 10;
const ZSTD_MAGIC = 0xfd2fb528;
const HAS_CHECKSUM = 0x04;

/**
 * 64 bits of a message's body, by which an id that was used twice is told from a redelivery.
 *
 * Of a compressed body it is what its format itself says of what was compressed, a checksum (and with gzip the length): two versions of
 * zlib, or two levels, make different bytes of the same body, and a message that is published again after an update is
 * not another one. Nothing is inflated for it. The values are stored with the marks: this function never changes.
 */
export function fingerprint({ body, contentEncoding }: Pick<Incoming, "body" | "contentEncoding">): bigint {
  const said = contentEncoding === null ? null : contentEncoding.toLowerCase();
  const sum = said === "gzip" || said === "x-gzip" ? ofGzip(body) : said === "zstd" ? ofZstd(body) : null;
  return sum ?? bodyHash(body);
}

/** Its trailer: CRC-32, and the length modulo 2^32 (RFC 1952, 2.3.1). */
function ofGzip(body: Uint8Array): bigint | null {
  if (body.length < GZIP_LEAST || body[0] !== 0x1f || body[1] !== 0x8b) return null;
  const end = view(body);
  const [crc, length] = [end.getUint32(body.length - 8, true), end.getUint32(body.length - 4, true)];
  return (BigInt(length) << 32n) | BigInt(crc);
}

/**
 * The checksum at its end, 32 bits, where it has one (RFC 8878, 3.1.1). Not the length in its header: whether that is there
 * depends on how the compressor was fed.
 */
function ofZstd(body: Uint8Array): bigint | null {
  if (body.length < ZSTD_LEAST) return null;
  const bytes = view(body);
  if (bytes.getUint32(0, true) !== ZSTD_MAGIC || (bytes.getUint8(4) & HAS_CHECKSUM) === 0) return null;
  return (BigInt(ZSTD_MAGIC) << 32n) | BigInt(bytes.getUint32(body.length - 4, true));
}

function view(body: Uint8Array): DataView {
  return new DataView(body.buffer, body.byteOffset, body.byteLength);
}
