import type { NewRow, Row } from "@tallymq/core/spi";
import { describe, expect, it } from "vitest";
import { FRAME, PACK_BYTES } from "../src/record/layout.ts";
import { Heads, Pack } from "../src/record/pack.ts";
import { RecordReader } from "../src/record/unpack.ts";
import { row } from "./open.ts";

function record(of: NewRow): Uint8Array<ArrayBuffer> {
  const pack = new Pack(new ArrayBuffer(PACK_BYTES), false);
  expect(pack.add(of, new Heads())).toBe(true);
  return Uint8Array.from(pack.bytes.subarray(FRAME, pack.used));
}

function unpack(bytes: Uint8Array<ArrayBuffer>): Row {
  return new RecordReader(bytes.buffer).row(0, bytes.length, 1, 2);
}

describe("a record", () => {
  const plain = row("m1");
  const later = { ...plain, message: { ...plain.message, headers: { a: "b" }, delayMs: 90_000 } };

  it("of a message that is delayed keeps the delay", () => {
    expect(unpack(record(later)).message).toMatchObject({ headers: { a: "b" }, delayMs: 90_000 });
  });

  it("from before there were delays, or of a message without one, has none", () => {
    expect(unpack(record(plain)).message.delayMs).toBe(0);
    const old = { ...plain, message: { ...plain.message, headers: { a: "b" } } };
    const bytes = record(old);
    expect(new TextDecoder().decode(bytes)).toContain('[{"a":"b"},null,null]');
    expect(unpack(bytes).message.delayMs).toBe(0);
  });

  it("has its own topic and type, though what neighbours have in common is parsed once", () => {
    const topics = ["orders", "orderz", "order", "orders", "xrders", "xrders"];
    const records = topics.map((topic) =>
      record({ ...plain, message: { ...plain.message, topic, type: `${topic}!` } }),
    );
    const reader = new RecordReader(Uint8Array.from(records.flatMap((bytes) => [...bytes])).buffer);
    let from = 0;
    const rows = records.map(({ length }) => reader.row(from, (from += length), 1, 2));
    expect(rows.map(({ message }) => message.topic)).toEqual(topics);
    expect(rows.map(({ message }) => message.type)).toEqual(topics.map((topic) => `${topic}!`));
  });

  it("has a body of its own, small or large, though small ones share a buffer", () => {
    const bodies = Array.from({ length: 40 }, (_, n) => new Uint8Array(n * 60).fill(n));
    const wide = { headers: { wide: "x".repeat(20_000) } };
    const records = bodies.map((body, n) =>
      record({ ...plain, message: { ...plain.message, ...(n % 7 === 0 ? wide : {}), body } }),
    );
    const all = Uint8Array.from(records.flatMap((bytes) => [...bytes]));
    const reader = new RecordReader(all.buffer);
    let from = 0;
    const rows = records.map(({ length }, n) => reader.row(from, (from += length), n, 2));
    all.fill(255);
    const spoilt = rows.filter(({ message }, n) => Buffer.compare(message.body, bodies[n] as Uint8Array) !== 0);
    expect(spoilt.map(({ place }) => place)).toEqual([]);
    // Who keeps one message keeps no more than a few others.
    expect(Math.max(...rows.map(({ message }) => message.body.buffer.byteLength))).toBeLessThanOrEqual(8_192);
  });
});
