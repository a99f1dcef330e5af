import fc from "fast-check";
// @ts-expect-error -- a file of kafkajs that its types do not describe
import plainCrc from "kafkajs/src/protocol/recordBatch/crc32C/index.js";
// @ts-expect-error -- a file of kafkajs that its types do not describe
import wrap from "kafkajs/src/protocol/request.js";
// @ts-expect-error -- a file of kafkajs that its types do not describe
import ofKafkaJs from "kafkajs/src/protocol/requests/produce/v7/request.js";
import { describe, expect, it } from "vitest";
import { packerOf, readAllCodecs } from "../src/driver/codecs.ts";
import type { DriverRecord } from "../src/driver/driver.ts";
import { crc32c } from "../src/driver/produce/crc32c.ts";
import { type Batch, number, produceRequest } from "../src/driver/produce/request.ts";

const TIME = 1_700_000_000_123;

function batchOf(records: readonly DriverRecord[], given: Partial<Batch> = {}): Batch {
  return {
    clientId: "shop",
    topic: "orders",
    partition: 3,
    records,
    producerId: 81n,
    producerEpoch: 2,
    sequence: 12,
    timestamp: TIME,
    ...given,
  };
}

/** What kafkajs' own encoder makes of it. */
async function expected({ records, ...batch }: Batch, compression = 0): Promise<Buffer> {
  const messages = records.map(({ key, value, headers }) => ({
    key: key instanceof Uint8Array ? Buffer.from(key) : key,
    value: Buffer.from(value),
    timestamp: TIME,
    headers: Object.fromEntries(headers.flatMap((name, at) => (at % 2 === 0 ? [[name, headers[at + 1]]] : []))),
  }));
  const request = (ofKafkaJs as (options: object) => object)({
    acks: -1,
    timeout: 30_000,
    compression,
    producerId: String(batch.producerId),
    producerEpoch: batch.producerEpoch,
    topicData: [
      {
        topic: batch.topic,
        partitions: [{ partition: batch.partition, firstSequence: batch.sequence, messages }],
      },
    ],
  });
  const made = await (wrap as (options: object) => Promise<{ readonly buffer: Buffer }>)({
    correlationId: 77,
    clientId: batch.clientId,
    request,
  });
  return made.buffer;
}

async function made(batch: Batch, compression: "none" | "gzip" | "zstd" = "none"): Promise<Buffer> {
  const request = await produceRequest(batch, packerOf(compression));
  number(request, 77);
  return request;
}

const text = fc.oneof(fc.string({ maxLength: 60 }), fc.string({ unit: "grapheme", maxLength: 60 }));
const records: fc.Arbitrary<DriverRecord> = fc.record({
  key: fc.oneof(fc.constant(null), text, fc.uint8Array({ maxLength: 300 })),
  value: fc.uint8Array({ maxLength: 9_000 }),
  // Names that are numbers would change places in kafkajs' object.
  headers: fc
    .uniqueArray(text, { maxLength: 6 })
    .chain((names) => fc.tuple(...names.map((name) => fc.tuple(fc.constant(`h${name}`), text))))
    .map((pairs) => pairs.flat()),
});

describe("a request to produce", () => {
  it("is byte by byte what kafkajs makes of it, whatever is in it", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(records, { minLength: 1, maxLength: 80 }), async (some) => {
        const batch = batchOf(some);
        expect((await made(batch)).equals(await expected(batch))).toBe(true);
      }),
      { numRuns: 300 },
    );
  });

  it("of more than 64 and of more than 8,192 records has their offsets", async () => {
    const batch = batchOf(
      Array.from({ length: 9_000 }, (_, n) => ({ key: `k${n}`, value: Buffer.from("v"), headers: [] })),
    );
    expect((await made(batch)).equals(await expected(batch))).toBe(true);
  });

  it("carries names and numbers at their bounds", async () => {
    const batch = batchOf([{ key: null, value: new Uint8Array(0), headers: [] }], {
      clientId: "käse",
      topic: "t".repeat(249),
      producerId: 2n ** 63n - 1n,
      producerEpoch: 32_767,
      sequence: 2 ** 31 - 1,
      partition: 2 ** 31 - 1,
    });
    expect((await made(batch)).equals(await expected(batch))).toBe(true);
  });

  it("one text that is not ASCII, in the last header of many, spoils nothing", async () => {
    for (const last of ["é", "n".repeat(40) + "é", "\u{1f600}".repeat(30)]) {
      const batch = batchOf(
        Array.from({ length: 30 }, (_, n) => ({
          key: "k",
          value: Buffer.alloc(n),
          headers: ["h", n === 29 ? last : "x"],
        })),
      );
      expect((await made(batch)).equals(await expected(batch))).toBe(true);
    }
  });

  it.each([
    ["gzip", 1],
    ["zstd", 4],
  ] as const)("has its records packed where they are to be: %s", async (compression, codec) => {
    readAllCodecs(1_000_000);
    const batch = batchOf(
      Array.from({ length: 50 }, () => ({ key: "k", value: Buffer.alloc(100), headers: ["h", "x"] })),
    );
    const packed = await made(batch, compression);
    expect(packed.equals(await expected(batch, codec))).toBe(true);
    expect(packed.length).toBeLessThan(500);
  });
});

describe("the checksum", () => {
  it("is CRC-32C", () => {
    expect(crc32c(Buffer.from("123456789"), 0) >>> 0).toBe(0xe306_9283);
  });

  it("is that of a byte at a time, wherever it begins and ends", () => {
    const bytes = Buffer.from(Array.from({ length: 70 }, (_, n) => (n * 197 + 31) & 255));
    for (let from = 0; from < 20; from++)
      for (let end = from; end <= bytes.length; end++)
        expect(crc32c(bytes.subarray(0, end), from) >>> 0).toBe(
          (plainCrc as (bytes: Buffer) => number)(bytes.subarray(from, end)),
        );
  });
});
