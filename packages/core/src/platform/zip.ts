import { promisify } from "node:util";
import * as zlib from "node:zlib";

/** One way to make bytes fewer, under its registered name as a content coding. */
export interface Coder {
  deflateSync(bytes: Uint8Array): Uint8Array;
  /** Off the event loop. */
  deflate(bytes: Uint8Array): Promise<Uint8Array>;
  /** @throws RangeError when more than `most` bytes come out: it stops there; Error for anything but one whole stream */
  inflateSync(bytes: Uint8Array, most: number): Uint8Array;
  inflate(bytes: Uint8Array, most: number): Promise<Uint8Array>;
}

interface Told {
  readonly buffer: Uint8Array;
  readonly engine: { readonly bytesWritten: number };
}
interface Settings {
  readonly info: true;
  readonly maxOutputLength: number;
}
type Sync = (bytes: Uint8Array, settings: Settings) => unknown;
type Async = (bytes: Uint8Array, settings: Settings, done: (error: Error | null, told: unknown) => void) => void;

// The checksum of zstd's frames is off by default, and what a broker or a disk has spoilt would be read as it is.
const ZSTD = { params: { [zlib.constants.ZSTD_c_checksumFlag]: 1 } };

const CODERS: ReadonlyMap<string, Coder> = new Map([
  ["gzip", coder(zlib.gzipSync, promisify(zlib.gzip), zlib.gunzipSync as Sync, zlib.gunzip as Async)],
  ["deflate", coder(zlib.deflateSync, promisify(zlib.deflate), zlib.inflateSync as Sync, zlib.inflate as Async)],
  [
    "br",
    coder(
      zlib.brotliCompressSync,
      promisify(zlib.brotliCompress),
      zlib.brotliDecompressSync as Sync,
      zlib.brotliDecompress as Async,
    ),
  ],
  [
    "zstd",
    coder(
      (bytes) => zlib.zstdCompressSync(bytes, ZSTD),
      async (bytes) => await promisify<Uint8Array, object, Uint8Array>(zlib.zstdCompress)(bytes, ZSTD),
      zlib.zstdDecompressSync as Sync,
      zlib.zstdDecompress as Async,
    ),
  ],
]);

/** Pure functions of bytes: no time and no chance in them, so they are no port. Null for a coding that Node has not. */
export function coderOf(encoding: string): Coder | null {
  return CODERS.get(encoding) ?? null;
}

function coder(
  deflateSync: (bytes: Uint8Array) => Uint8Array,
  deflate: (bytes: Uint8Array) => Promise<Uint8Array>,
  inflateSync: Sync,
  inflate: Async,
): Coder {
  return {
    deflateSync,
    deflate,
    inflateSync: (bytes, most) => whole(bytes, inflateSync(bytes, settings(most)) as Told),
    inflate: (bytes, most) =>
      new Promise((resolve, reject) => {
        inflate(bytes, settings(most), (error, told) => {
          if (error !== null) return reject(error);
          try {
            resolve(whole(bytes, told as Told));
          } catch (thrown) {
            reject(thrown as Error);
          }
        });
      }),
  };
}

// Node makes 16 KiB of output at a time and looks at the bound each time: a bomb ends one chunk beyond it.
function settings(most: number): Settings {
  return { info: true, maxOutputLength: Math.max(1, most) };
}

/** Node takes what follows the end of a stream for nothing. */
function whole(bytes: Uint8Array, { buffer, engine }: Told): Uint8Array {
  if (engine.bytesWritten !== bytes.length) throw new Error("bytes follow the end of the compressed data");
  return buffer;
}
