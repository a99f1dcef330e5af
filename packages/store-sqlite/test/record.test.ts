import type { NewRow } from "@tallymq/core/spi";
import { describe, expect, it } from "vitest";
import { FRAME, Heads, Pack, PACK_BYTES } from "../src/record/pack.ts";
import { unpack } from "../src/record/unpack.ts";
import { row } from "./open.ts";

function record(of: NewRow): Uint8Array {
  const pack = new Pack(new ArrayBuffer(PACK_BYTES));
  expect(pack.add(of, new Heads())).toBe(true);
  return Uint8Array.from(pack.bytes.subarray(FRAME, pack.used));
}

describe("a record", () => {
  const plain = row("m1");
  const later = { ...plain, message: { ...plain.message, headers: { a: "b" }, delayMs: 90_000 } };

  it("of a message that is delayed keeps the delay", () => {
    expect(unpack(record(later), 1, 2).message).toMatchObject({ headers: { a: "b" }, delayMs: 90_000 });
  });

  it("from before there were delays, or of a message without one, has none", () => {
    expect(unpack(record(plain), 1, 2).message.delayMs).toBe(0);
    const old = { ...plain, message: { ...plain.message, headers: { a: "b" } } };
    const bytes = record(old);
    expect(new TextDecoder().decode(bytes)).toContain('[{"a":"b"},null,null]');
    expect(unpack(bytes, 1, 2).message.delayMs).toBe(0);
  });

  it("has a body of its own, small or large, though small ones share a buffer", () => {
    const bodies = Array.from({ length: 40 }, (_, n) => new Uint8Array(n * 60).fill(n));
    const records = bodies.map((body) => record({ ...plain, message: { ...plain.message, body } }));
    const rows = records.map((bytes, n) => unpack(bytes, n, 2));
    for (const bytes of records) bytes.fill(255);
    expect(rows.map(({ message }) => message.body)).toEqual(bodies);
  });
});
