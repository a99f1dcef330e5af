import fc from "fast-check";
import { execFile } from "node:child_process";
import { promisify } from "node:util";
import * as zlib from "node:zlib";
import { describe, expect, test } from "vitest";
import { fingerprint } from "../../src/compress/fingerprint.ts";
import { inflated, inflatedNow } from "../../src/compress/inflate.ts";
import { bodyHash } from "../../src/hash.ts";
import { coderOf } from "../../src/platform/zip.ts";
import { type TopicOptions, topic } from "../../src/topic.ts";
import { thrownBy } from "../support/refused.ts";

const ENCODINGS = ["gzip", "zstd", "deflate", "br"] as const;
const of = (options: TopicOptions<unknown> = {}): ReturnType<typeof topic> => topic("orders", options);
const TEXT = Buffer.from(JSON.stringify(Array.from({ length: 300 }, (_, n) => ({ n, sku: `A-${n * 7}` }))));

/** A stream of `members` × 16 MiB of zeros, in 16 KiB each: so many times a thousand. */
function bomb(members: number): Uint8Array {
  const one = zlib.gzipSync(Buffer.alloc(16 * 1024 * 1024));
  return Buffer.concat(Array<Uint8Array>(members).fill(one));
}

describe("a compressed body", () => {
  test.each(ENCODINGS)("%s: any bytes come back as they were, on the loop and off it", async (encoding) => {
    const coder = coderOf(encoding)!;
    const bodies = fc.oneof(
      fc.uint8Array({ maxLength: 5_000 }),
      // Some that shrink by much, and are inflated off the loop.
      fc
        .tuple(fc.uint8Array({ minLength: 1, maxLength: 40 }), fc.integer({ min: 1, max: 5_000 }))
        .map(([part, times]) => {
          return new Uint8Array(Buffer.concat(Array<Uint8Array>(times).fill(part)));
        }),
    );
    await fc.assert(
      fc.asyncProperty(bodies, async (plain) => {
        for (const body of [coder.deflateSync(plain), await coder.deflate(plain)]) {
          const message = { body, contentEncoding: encoding };
          expect(Buffer.compare(await inflated(of(), message), plain)).toBe(0);
          expect(Buffer.compare(inflatedNow(of(), message), plain)).toBe(0);
        }
      }),
      { numRuns: 60 },
    );
  });

  test("of another sender: names in any case, x-gzip, and what says nothing", () => {
    const plain = (contentEncoding: string | null, body: Uint8Array): unknown =>
      inflated(of(), { contentEncoding, body });
    expect(plain("GZIP", zlib.gzipSync(TEXT))).toEqual(TEXT);
    expect(plain("x-gzip", zlib.gzipSync(TEXT))).toEqual(TEXT);
    // Several members in a row are one stream (RFC 1952, 2.2).
    expect(plain("gzip", Buffer.concat([zlib.gzipSync(TEXT), zlib.gzipSync(TEXT)]))).toHaveLength(2 * TEXT.length);
    for (const nothing of [null, "", "identity", "utf-8", "binary"]) expect(plain(nothing, TEXT)).toBe(TEXT);
  });

  const damaged: readonly (readonly [string, (whole: Buffer) => Uint8Array])[] = [
    ["cut off", (whole) => whole.subarray(0, whole.length - 3)],
    ["cut off in the middle", (whole) => whole.subarray(0, whole.length >> 1)],
    ["empty", () => new Uint8Array()],
    ["with bytes behind its end", (whole) => Buffer.concat([whole, Buffer.from("more")])],
    ["with zeros behind its end", (whole) => Buffer.concat([whole, Buffer.alloc(9)])],
    ["something else", () => TEXT],
  ];
  for (const encoding of ENCODINGS)
    test.each(damaged)(`${encoding} that is %s cannot be read`, async (_what, spoil) => {
      const body = spoil(Buffer.from(coderOf(encoding)!.deflateSync(TEXT)));
      const large = spoil(Buffer.from(coderOf(encoding)!.deflateSync(noise(60_000))));
      for (const message of [
        { body, contentEncoding: encoding },
        { body: large, contentEncoding: encoding },
      ]) {
        const error = await thrownBy(async () => await inflated(of(), message));
        expect([error.code, error.message]).toEqual(["decode", expect.stringContaining("damaged, cut off")]);
        expect((await thrownBy(() => inflatedNow(of(), message))).code).toBe("decode");
      }
    });

  test.each(["gzip", "zstd"])("%s with a bit turned over is not read as another body", async (encoding) => {
    const body = Buffer.from(coderOf(encoding)!.deflateSync(TEXT));
    body[body.length >> 1]! ^= 1;
    expect((await thrownBy(async () => await inflated(of(), { body, contentEncoding: encoding }))).code).toBe("decode");
  });

  test.each(["compress", "gzip, gzip", "gzip;q=1", "rot13", "__proto__"])(
    "content-encoding %j is none that anybody here reads",
    async (contentEncoding) => {
      const error = await thrownBy(() => inflated(of(), { body: TEXT, contentEncoding }));
      expect(error.message).toContain("content-encoding that this consumer cannot read");
    },
  );

  test("may become as large as the topic says, and not a byte more", async () => {
    const plain = Buffer.alloc(200_000, "x");
    for (const encoding of ENCODINGS) {
      const message = { body: coderOf(encoding)!.deflateSync(plain), contentEncoding: encoding };
      expect(await inflated(of({ maxInflatedBytes: plain.length }), message)).toHaveLength(plain.length);
      const error = await thrownBy(async () => await inflated(of({ maxInflatedBytes: plain.length - 1 }), message));
      expect(error.message).toContain("more than 199999 bytes (maxInflatedBytes)");
      // `maxBytes` is that bound where no other is given.
      expect((await thrownBy(async () => await inflated(of({ maxBytes: 199_999 }), message))).code).toBe("decode");
      expect(await inflated(of({ maxBytes: 1_000, maxInflatedBytes: 200_000 }), message)).toHaveLength(200_000);
    }
  });
});

describe("a bomb", () => {
  test("1 GiB in 1 MiB: it stops at the bound, and never takes more memory than that", async () => {
    // In a process of its own with a heap of 64 MB, by what the system counts: its highest use, bodies included.
    const program = `
      import { inflated, inflatedNow } from ${JSON.stringify(new URL("../../src/compress/inflate.ts", import.meta.url))};
      import { topic } from ${JSON.stringify(new URL("../../src/topic.ts", import.meta.url))};
      import { gzipSync } from "node:zlib";
      const one = gzipSync(Buffer.alloc(4 * 1024 * 1024));
      const body = Buffer.concat(Array(256).fill(one));
      const t = topic("orders", { maxInflatedBytes: 1024 * 1024 });
      const before = process.resourceUsage().maxRSS;
      const said = [];
      for (const read of [inflated, inflatedNow])
        said.push(await Promise.resolve().then(() => read(t, { body, contentEncoding: "gzip" })).then(() => "read", (e) => e.message));
      console.log(JSON.stringify({ said, kilobytes: process.resourceUsage().maxRSS - before }));
    `;
    const { stdout } = await promisify(execFile)(process.execPath, [
      "--max-old-space-size=64",
      "--input-type=module",
      "--eval",
      program,
    ]);
    const { said, kilobytes } = JSON.parse(stdout) as { readonly said: readonly string[]; readonly kilobytes: number };
    expect(said).toEqual(Array(2).fill(expect.stringContaining("more than 1048576 bytes")));
    expect(kilobytes).toBeLessThan(32 * 1024);
  });

  test("in a bomb's shape each coding stops, small ones too", async () => {
    for (const encoding of ENCODINGS) {
      const body = coderOf(encoding)!.deflateSync(Buffer.alloc(8 * 1024 * 1024));
      const error = await thrownBy(
        async () => await inflated(of({ maxInflatedBytes: 1_000 }), { body, contentEncoding: encoding }),
      );
      expect(error.message).toContain("more than 1000 bytes");
    }
    expect(bomb(2).length).toBeLessThan(64 * 1024);
    expect(
      (await thrownBy(async () => await inflated(of(), { body: bomb(2), contentEncoding: "gzip" }))).message,
    ).toContain("more than 16777216 bytes");
  });
});

describe("what tells two bodies of one id apart", () => {
  test("gzip and zstd: the same body, by whatever version or level it was compressed", async () => {
    const gzip = [1, 6, 9].map((level) =>
      fingerprint({ body: zlib.gzipSync(TEXT, { level }), contentEncoding: "gzip" }),
    );
    expect(new Set(gzip).size).toBe(1);
    for (const encoding of ["gzip", "zstd"]) {
      for (const body of [coderOf(encoding)!.deflateSync(TEXT), await coderOf(encoding)!.deflate(TEXT)])
        expect(fingerprint({ body, contentEncoding: encoding })).not.toBe(bodyHash(body));
    }
    for (const size of [10, 200, 300, 70_000, 200_000]) {
      const plain = Buffer.alloc(size, TEXT);
      const zstd = [1, 3, 19].map((level) =>
        fingerprint({
          contentEncoding: "zstd",
          body: zlib.zstdCompressSync(plain, {
            params: { [zlib.constants.ZSTD_c_checksumFlag]: 1, [zlib.constants.ZSTD_c_compressionLevel]: level },
          }),
        }),
      );
      expect([size, new Set(zstd).size]).toEqual([size, 1]);
    }
  });

  test.each(["gzip", "zstd", "br", null])("%s: another body has another one", (encoding) => {
    const seen = new Set<bigint>();
    for (let n = 0; n < 500; n++) {
      const plain = Buffer.from(`{"cents":${n},"note":"${"x".repeat(n % 7)}"}`);
      const body = encoding === null ? plain : coderOf(encoding)!.deflateSync(plain);
      seen.add(fingerprint({ body, contentEncoding: encoding }));
    }
    expect(seen.size).toBe(500);
  });

  test("what is not what it says it is, is told apart by its bytes; and none of it throws", () => {
    for (const contentEncoding of ["gzip", "zstd", "x-gzip", "nobody's"])
      for (const body of [
        TEXT,
        new Uint8Array(),
        Uint8Array.of(0x1f, 0x8b),
        Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, 0xff),
      ])
        expect(fingerprint({ body, contentEncoding })).toBe(bodyHash(body));
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (rest) => {
        fingerprint({ contentEncoding: "zstd", body: Uint8Array.of(0x28, 0xb5, 0x2f, 0xfd, ...rest) });
        fingerprint({ contentEncoding: "gzip", body: Uint8Array.of(0x1f, 0x8b, ...rest) });
      }),
    );
  });
});

/** Bytes that do not shrink. */
function noise(length: number): Uint8Array {
  let seed = 5;
  return Uint8Array.from({ length }, () => (seed = (seed * 1_103_515_245 + 12_345) & 0x7fffffff) >>> 16);
}
