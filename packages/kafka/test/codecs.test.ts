import { coderOf } from "@tallymq/core/spi";
import { CompressionTypes } from "kafkajs";
// @ts-expect-error -- a file of kafkajs that its types do not describe
import Decoder from "kafkajs/src/protocol/decoder.js";
// @ts-expect-error -- a file of kafkajs that its types do not describe
import decodeBatch from "kafkajs/src/protocol/recordBatch/v0/decoder.js";
import { describe, expect, it } from "vitest";
import { readAllCodecs } from "../src/driver/codecs.ts";
import { unlz4 } from "../src/driver/lz4-frame.ts";
import { unsnappy } from "../src/driver/snappy.ts";
import { whyUnreadable } from "../src/driver/stand-ins.ts";

const PLAIN = Buffer.from(
  `${Array.from({ length: 60 }, (_, n) => `order ${n % 7} of customer ${(n * n) % 11}; `).join("")}${"z".repeat(300)}`,
);
// Made of that by another's implementation.
const LZ4 = Buffer.from(
  "BCJNGFRArgYBAADwAm9yZGVyIDAgb2YgY3VzdG9tDgAiOyAXABkxFwAUMRcAGTIXABQ0FwAZMxcAFDkXABk0FwAUNRcAGTUXABQzFwAfNhcAAx8wRQADHjFzAA+hABYfMaEAAx8woQADHzGhAAMfNKEAAx85oQADHzWhAAMfM6EAAx8zQgEaHzmhABofMaEAAx8woQADHzGhAAMfNKEAAx85oQADHzXjARofM0IBGh85oQAaHzGhAAMfMKEAAx8xoQADHzSEAhofNeMBGh8zQgEaHzmhABoPxgMEHzAlAxofNIQCGh814wEaHzNCARofOaEAGg/GAwQfMCUDGh80hAIaTzU7IHoBAP8UUHp6enp6E6W3IwAAAAC2NPAb",
  "base64",
);
const SNAPPY = Buffer.from(
  "kA1Ab3JkZXIgMCBvZiBjdXN0b20BDgQ7IAkXADEyFwAAMREXADIyFwAANBEXADMyFwAAOREXADQyFwAANREXADUyFwAAMxEXADZWFwA2oQAVRTahABVzkqEAFc82oQAV/TahABUuNqEAFf02oQAVijahABW4NqEAFf02QgEVFzahABVFNqEAFXOSoQAVzzahABX9NqEAFS42oQAV/TahABWKNqEAFbg2oQAV5jZCARUXNqEAFUU2oQAVc5KhABXPNqEAFf02oQAVLjahABX9NqEAFYo2oQAVuDahABXmNkIBFRc2oQAVRTahABVzkqEAFc82oQAV/TahABUuNqEAFf02oQAVijahABW4NqEAFeY2QgEVFzahABVFNqEAFXOSoQAVzzahABX9NqEAFS42oQAV/TahABWKNqEADDU7IHr+AQD+AQD+AQD+AQCqAQA=",
  "base64",
);
/** As Java frames it: blocks with their lengths. */
const XERIAL = Buffer.concat([
  Buffer.from([0x82, 0x53, 0x4e, 0x41, 0x50, 0x50, 0x59, 0, 0, 0, 0, 1, 0, 0, 0, 1]),
  ...[SNAPPY, SNAPPY].flatMap((block) => [length(block), block]),
]);

describe.each([
  ["lz4", unlz4, LZ4, PLAIN],
  ["snappy", unsnappy, SNAPPY, PLAIN],
  ["snappy in Java's frames", unsnappy, XERIAL, Buffer.concat([PLAIN, PLAIN])],
] as const)("%s", (_, inflate, packed, plain) => {
  it("becomes what it was", () => {
    expect(inflate(packed, plain.length).equals(plain)).toBe(true);
  });

  it("of more bytes than are allowed is a RangeError", () => {
    expect(() => inflate(packed, plain.length - 1)).toThrow(RangeError);
  });

  it("that is cut off or spoilt is an error, or other bytes within the bound; nothing worse", () => {
    for (let at = 0; at < packed.length; at++) {
      const spoilt = Buffer.from(packed);
      spoilt[at] = spoilt[at]! ^ 0x55;
      for (const bytes of [packed.subarray(0, at), spoilt]) {
        try {
          expect(inflate(bytes, 4_000).length).toBeLessThanOrEqual(4_000);
        } catch (thrown) {
          expect(thrown, `at ${at}`).toBeInstanceOf(Error);
          expect(["Error", "RangeError"], `at ${at}: ${String(thrown)}`).toContain((thrown as Error).name);
          expect((thrown as { code?: string }).code, `at ${at}`).toBeUndefined();
        }
      }
    }
  });
});

describe("a batch that cannot be read", () => {
  const MOST = 4_096;
  readAllCodecs(MOST);
  // The largest that anybody in the process has asked for counts.
  readAllCodecs(MOST / 4);
  interface Read {
    readonly records: readonly { readonly offset: string; readonly key: null; readonly value: Buffer }[];
  }
  /** As it lies in an answer: other bytes before it. */
  const read = async (packed: Uint8Array, codec: number, count: number): Promise<Read> => {
    const answer = Buffer.concat([Buffer.alloc(100), batch(packed, codec, count)]);
    return await (decodeBatch as (from: unknown) => Promise<Read>)(
      new (Decoder as new (bytes: Buffer) => unknown)(answer.subarray(100)),
    );
  };

  it.each([
    [
      "a gzip bomb",
      CompressionTypes.GZIP,
      coderOf("gzip")!.deflateSync(Buffer.alloc(1_000_000)),
      /gzip.*more than 4096/,
    ],
    [
      "a zstd bomb",
      CompressionTypes.ZSTD,
      coderOf("zstd")!.deflateSync(Buffer.alloc(1_000_000)),
      /zstd.*more than 4096/,
    ],
    ["a snappy bomb", CompressionTypes.Snappy, Buffer.from([0xff, 0xff, 0xff, 0x7f, 0]), /snappy.*more than 4096/],
    ["damaged lz4", CompressionTypes.LZ4, LZ4.subarray(0, 50), /lz4 batch that is damaged/],
  ])("(%s) comes as records in its place, the first with all of it", async (_, codec, packed, why) => {
    const { records } = await read(packed, codec, 3);
    expect(records.map(({ offset }) => offset)).toEqual(["70", "71", "72"]);
    expect(records.map(({ value }) => value.length)).toEqual([packed.length, 0, 0]);
    expect(records[0]!.value.equals(packed)).toBe(true);
    for (const { value } of records) expect(whyUnreadable(value)).toMatch(why);
  });

  it("with more records than anybody could stand in for is an error", async () => {
    const bomb = coderOf("gzip")!.deflateSync(Buffer.alloc(1_000_000));
    await expect(read(bomb, CompressionTypes.GZIP, 1_000_000)).rejects.toMatchObject({ code: "decode" });
  });

  it("is nothing that a sender's bytes could claim to be", () => {
    expect(whyUnreadable(Buffer.from("a gzip batch that is damaged"))).toBeNull();
    expect(whyUnreadable(null)).toBeNull();
  });
});

function length(bytes: Buffer): Buffer {
  const own = Buffer.alloc(4);
  own.writeUInt32BE(bytes.length);
  return own;
}

/** At offset 70. */
function batch(records: Uint8Array, codec: number, count: number): Buffer {
  const head = Buffer.alloc(61);
  head.writeBigInt64BE(70n, 0);
  head.writeInt32BE(49 + records.length, 8);
  head[16] = 2;
  head.writeInt16BE(codec, 21);
  head.writeInt32BE(count - 1, 23);
  head.writeInt32BE(count, 57);
  return Buffer.concat([head, records]);
}
