import { collectGarbage } from "@tallymq/testkit";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { MOST_AHEAD, Progress } from "../src/progress.ts";

/** What the broker keeps of a commit's metadata. */
const MOST_METADATA = 4_096;

const fresh = (from = 0): Progress => new Progress(from, "");
const fetch = (progress: Progress, ...offsets: readonly number[]): boolean[] =>
  offsets.map((offset) => progress.fetched(offset));

describe("a commit", () => {
  it("is of the contiguous prefix of what is done", () => {
    const progress = fresh(10);
    fetch(progress, 10, 11, 12, 13);
    progress.done(12);
    expect(progress.commit().offset).toBe(10);
    progress.done(10);
    expect(progress.commit().offset).toBe(11);
    progress.done(11);
    expect(progress.commit()).toEqual({ offset: 13, metadata: "" });
    progress.done(13);
    expect(progress.commit()).toEqual({ offset: 14, metadata: "" });
  });

  it("passes over offsets that hold no message", () => {
    const progress = fresh(0);
    fetch(progress, 3, 9);
    expect(progress.commit().offset).toBe(3);
    progress.done(3);
    expect(progress.commit().offset).toBe(9);
  });

  it("never runs past a message that is not done, in whatever order they end", () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 200 }),
        fc.infiniteStream(fc.nat()),
        (gaps, order) => {
          const progress = fresh(0);
          const offsets: number[] = [];
          for (const gap of gaps) offsets.push((offsets.at(-1) ?? -1) + 1 + gap);
          fetch(progress, ...offsets);
          const open = new Set(offsets);
          while (open.size > 0) {
            const { offset, metadata } = progress.commit();
            expect(offset).toBe(Math.min(...open));
            // Whoever goes on from here runs exactly what is open.
            const next = new Progress(offset, metadata);
            const again = offsets.filter((one) => one >= offset && next.fetched(one));
            expect(again).toEqual([...open].toSorted((a, b) => a - b));
            const ended = [...open][order.next().value! % open.size]!;
            open.delete(ended);
            progress.done(ended);
          }
          expect(progress.commit()).toEqual({ offset: offsets.at(-1)! + 1, metadata: "" });
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe("what is done beyond the commit", () => {
  it("is remembered in its metadata, and not handed out again after a restart", () => {
    const before = fresh(100);
    fetch(before, 100, 101, 102, 103, 104);
    for (const offset of [101, 103, 104]) before.done(offset);
    const { offset, metadata } = before.commit();
    expect(offset).toBe(100);
    const after = new Progress(offset, metadata);
    expect(fetch(after, 100, 101, 102, 103, 104)).toEqual([true, false, true, false, false]);
    after.done(100);
    expect(after.commit().offset).toBe(102);
    after.done(102);
    expect(after.commit()).toEqual({ offset: 105, metadata: "" });
  });

  it("stays remembered by a commit before it has been fetched again", () => {
    const before = fresh(0);
    fetch(before, 0, 1, 2, 3);
    before.done(3);
    const first = before.commit();
    const after = new Progress(first.offset, first.metadata);
    fetch(after, 0, 1);
    after.done(0);
    const second = after.commit();
    expect(new Progress(second.offset, second.metadata).commit()).toEqual(second);
    expect(Progress.doneIn(second.offset, second.metadata, 0)).toBe(1);
  });

  it("fits into what the broker keeps, as far ahead as messages are handed out", () => {
    const progress = fresh(0);
    for (let offset = 0; offset <= MOST_AHEAD; offset++) progress.fetched(offset);
    for (let offset = 1; offset <= MOST_AHEAD; offset++) progress.done(offset);
    const { offset, metadata } = progress.commit();
    expect(offset).toBe(0);
    expect(metadata.length).toBeLessThanOrEqual(MOST_METADATA);
    expect(Progress.doneIn(offset, metadata, 0)).toBe(MOST_AHEAD);
    expect(MOST_AHEAD).toBeGreaterThan(10_000);
  });

  it("is as much of it as fits, where an older commit knew of more", () => {
    const bytes = Buffer.alloc(6_000, 255);
    bytes[0] = 0b1111_1110;
    const { offset, metadata } = new Progress(0, `tally1:${bytes.toString("base64")}`).commit();
    expect(offset).toBe(0);
    expect(metadata.length).toBeLessThanOrEqual(MOST_METADATA);
    expect(Progress.doneIn(0, metadata, 0)).toBeGreaterThan(MOST_AHEAD);
  });

  it.each(["", "somebody else's", "tally1:", "tally1:*%&", "tally2:////"])(
    "is nothing where the metadata says %j",
    (metadata) => {
      expect(fetch(new Progress(5, metadata), 5, 6)).toEqual([true, true]);
    },
  );
});

describe("a message", () => {
  it("that was fetched before is not handed out a second time", () => {
    const progress = fresh(0);
    expect(fetch(progress, 0, 1, 1, 0, 2)).toEqual([true, true, false, false, true]);
  });

  it("that was not fetched cannot be done", () => {
    const progress = fresh(5);
    progress.done(4);
    progress.done(7);
    expect(progress.commit()).toEqual({ offset: 5, metadata: "" });
  });

  it("takes no memory once it lies below the prefix, however long the partition", () => {
    const progress = fresh(0);
    const used = (): number => (collectGarbage(), process.memoryUsage().heapUsed);
    // Always one that is not done: lists that empty themselves would hide those that only grow.
    progress.fetched(0);
    const before = used();
    for (let offset = 1; offset < 2_000_000; offset++) {
      progress.fetched(offset);
      progress.done(offset - 1);
    }
    // Two million numbers are 16 MB.
    expect(used() - before).toBeLessThan(4_000_000);
    expect(progress.prefix).toBe(1_999_999);
    expect(progress.commit().metadata).toBe("");
  });
});
