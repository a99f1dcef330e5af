import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { Frames, MOST_FRAME } from "../src/driver/frames.ts";

function frame(body: Uint8Array): Buffer {
  const bytes = Buffer.alloc(4 + body.length);
  bytes.writeInt32BE(body.length);
  bytes.set(body, 4);
  return bytes;
}

/** What comes out, piece by piece. */
function through(chunks: readonly Buffer[]): readonly Buffer[] {
  const out: Buffer[] = [];
  const frames = new Frames((bytes) => out.push(Buffer.from(bytes)));
  for (const chunk of chunks) frames.take(chunk);
  return out;
}

/** Whether these bytes are frames and nothing else. */
function areWhole(bytes: Buffer): boolean {
  let at = 0;
  while (at + 4 <= bytes.length) at += 4 + bytes.readInt32BE(at);
  return at === bytes.length;
}

describe("frames", () => {
  it("come out whole and all, however they are cut on their way", () => {
    fc.assert(
      fc.property(
        fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 8 }),
        fc.array(fc.nat(400), { maxLength: 12 }),
        (bodies, cuts) => {
          const all = Buffer.concat(bodies.map(frame));
          const at = [...new Set([0, ...cuts.filter((cut) => cut < all.length), all.length])].toSorted((a, b) => a - b);
          const out = through(at.slice(1).map((end, i) => all.subarray(at[i], end)));
          expect(out.every(areWhole)).toBe(true);
          expect(Buffer.concat(out).equals(all)).toBe(true);
        },
      ),
      { numRuns: 1_000 },
    );
  });

  it("an unfinished one is kept back, and stays with those who brought it", () => {
    const whole = frame(Buffer.from("whole"));
    const torn = frame(Buffer.from("torn apart"));
    expect(through([Buffer.concat([whole, torn.subarray(0, 9)])])).toEqual([whole]);
    // What comes by another connection begins anew.
    expect(through([whole])).toEqual([whole]);
  });

  it.each([
    ["negative", -1],
    ["4 GiB less one as an unsigned number", 0xffff_ffff | 0],
    ["beyond what a fetch can be", MOST_FRAME + 1],
  ])("a length that is %s is refused", (_, length) => {
    const head = Buffer.alloc(4);
    head.writeInt32BE(length);
    expect(() => through([head])).toThrow(RangeError);
  });
});
