import { describe, expect, it } from "vitest";
import { murmur2, partitionOf } from "../src/murmur.ts";

const bytes = (text: string): Uint8Array => new TextEncoder().encode(text);

describe("the hash of a key", () => {
  // What Kafka's own unit tests expect of it.
  it.each([
    ["21", -973932308],
    ["foobar", -790332482],
    ["a-little-bit-long-string", -985981536],
    ["a-little-bit-longer-string", -1486304829],
    ["lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971],
    ["abc", 479470107],
  ])("of %s is that of Java's producers", (text, hash) => {
    expect(murmur2(bytes(text))).toBe(hash);
  });

  it("that is text is that of its bytes", () => {
    for (const key of ["customer-17", "käse", "", "x".repeat(255), "x".repeat(256), "x".repeat(254) + "é"])
      expect(partitionOf(key, 1_000_003), key).toBe(partitionOf(bytes(key), 1_000_003));
  });

  it("gives a partition that is there, for any key", () => {
    for (let n = 0; n < 1_000; n++) {
      const partition = partitionOf(bytes("x".repeat(n % 9) + n), 7);
      expect(partition).toBeGreaterThanOrEqual(0);
      expect(partition).toBeLessThan(7);
    }
  });
});
