import { coderOf, describe, TallyError } from "@tallymq/core/spi";
// Node does not find these two among the names that kafkajs exports.
// @ts-expect-error -- a file of kafkajs that its types do not describe
import ofKafkaJs from "kafkajs/src/protocol/message/compression/index.js";
import { unlz4 } from "./lz4-frame.ts";
import { unsnappy } from "./snappy.ts";
import { standIns } from "./stand-ins.ts";

interface Codec {
  compress(encoder: { readonly buffer: Buffer }): Promise<Buffer>;
  decompress(bytes: Buffer): Promise<Buffer>;
}

const { Types, Codecs } = ofKafkaJs as {
  readonly Types: Readonly<Record<"None" | "GZIP" | "Snappy" | "LZ4" | "ZSTD", number>>;
  readonly Codecs: Record<number, () => Codec>;
};

/** What batches may be compressed with on their way out; of others' batches all four of Kafka's are read. */
export type Compression = "none" | "gzip" | "zstd";

const COMPRESSION: Readonly<Record<Compression, number>> = {
  none: Types.None,
  gzip: Types.GZIP,
  zstd: Types.ZSTD,
};

/** Packs the records of a batch on its way out. */
export interface Packer {
  /** Among Kafka's codecs. */
  readonly number: number;
  pack(records: Buffer): Promise<Buffer>;
}

/** Null: nothing packs them. */
export function packerOf(compression: Compression): Packer | null {
  const number = COMPRESSION[compression];
  if (compression === "none") return null;
  return { number, pack: (records) => Codecs[number]!().compress({ buffer: records }) };
}

type Inflate = (bytes: Buffer, most: number) => Buffer | Promise<Buffer>;

/** Bytes that a batch becomes at most: kafkajs has one set of codecs for the whole process, so the largest asked for. */
let most = 0;

/**
 * Teaches kafkajs Kafka's four codecs, each with an end: its own gzip makes 200 MB of 194 KB, and it ends a consumer at a
 * batch of any other. A batch that cannot be read comes as records that say so, see {@link standIns}. What the application
 * has registered to write with stays.
 */
export function readAllCodecs(maxInflatedBytes: number): void {
  const first = most === 0;
  most = Math.max(most, maxInflatedBytes);
  if (!first) return;
  register(Types.GZIP, "gzip", ofCore("gzip"));
  register(Types.ZSTD, "zstd", ofCore("zstd"));
  register(Types.Snappy, "snappy", unsnappy);
  register(Types.LZ4, "lz4", unlz4);
}

function register(type: number, name: string, inflate: Inflate): void {
  const earlier = Codecs[type]!;
  const coder = coderOf(name);
  const codec: Codec = {
    async compress(encoder) {
      return coder === null ? await earlier().compress(encoder) : view(await coder.deflate(encoder.buffer));
    },
    async decompress(bytes) {
      try {
        return await inflate(bytes, most);
      } catch (thrown) {
        const why =
          thrown instanceof RangeError
            ? `a ${name} batch that becomes more than ${most} bytes (maxInflatedBytes)`
            : `a ${name} batch that is damaged: ${describe(thrown)}`;
        const instead = standIns(bytes, type, why);
        if (instead === null) throw new TallyError("decode", why, { cause: thrown });
        return instead;
      }
    },
  };
  Codecs[type] = () => codec;
}

function ofCore(name: string): Inflate {
  const coder = coderOf(name);
  if (coder === null) throw new TypeError(`no ${name}`);
  return async (bytes, limit) => view(await coder.inflate(bytes, limit));
}

function view(bytes: Uint8Array): Buffer {
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
