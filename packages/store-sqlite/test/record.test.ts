import type { NewRow, Row } from "@tallymq/core/spi";
import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { AT, FORMAT, FRAME, BATCH_BYTES, SHORT_FORMAT } from "../src/record/layout.ts";
import { Heads } from "../src/record/heads.ts";
import { Batch } from "../src/record/batch.ts";
import { Commons } from "../src/record/short.ts";
import { RecordReader } from "../src/record/reader.ts";
import { row } from "./open.ts";

function record(of: NewRow): Uint8Array<ArrayBuffer> {
  const batch = new Batch(new ArrayBuffer(BATCH_BYTES), false);
  expect(batch.add(of, new Heads())).toBe(true);
  return Uint8Array.from(batch.bytes.subarray(FRAME, batch.used));
}

/** As they are stored when they come together. */
function together(rows: readonly NewRow[]): { readonly records: readonly Uint8Array[]; readonly commons: Commons } {
  const [batch, heads] = [new Batch(new ArrayBuffer(BATCH_BYTES), true), new Heads()];
  for (const each of rows) expect(batch.add(each, heads)).toBe(true);
  const common = batch.finish();
  const records: Uint8Array[] = [];
  for (let at = 0; at < batch.used;) {
    const end = at + FRAME + batch.bytes.readUInt32LE(at);
    records.push(batch.bytes.subarray(at + FRAME, end));
    at = end;
  }
  return { records, commons: new Commons(batch.bytes.subarray(batch.used, batch.used + common)) };
}

function rowOf(bytes: Uint8Array<ArrayBuffer>): Row {
  return new RecordReader(bytes.buffer).row(0, bytes.length, 1, 2);
}

describe("a record", () => {
  it("has nothing of what was in its buffer before", () => {
    const used = new Batch(new Uint8Array(BATCH_BYTES).fill(255).buffer, false);
    expect(used.add(row("m"), new Heads())).toBe(true);
    expect(Uint8Array.from(used.bytes.subarray(FRAME, used.used))).toEqual(record(row("m")));
  });

  const plain = row("m1");
  const later = { ...plain, message: { ...plain.message, headers: { a: "b" }, delayMs: 90_000 } };

  it("of a message that is delayed keeps the delay", () => {
    expect(rowOf(record(later)).message).toMatchObject({ headers: { a: "b" }, delayMs: 90_000 });
  });

  it("from before there were delays, or of a message without one, has none", () => {
    expect(rowOf(record(plain)).message.delayMs).toBe(0);
    const old = { ...plain, message: { ...plain.message, headers: { a: "b" } } };
    const bytes = record(old);
    expect(new TextDecoder().decode(bytes)).toContain('[{"a":"b"},null,null]');
    expect(rowOf(bytes).message.delayMs).toBe(0);
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

describe("records that come together", () => {
  const texts = (maxLength: number) => fc.string({ unit: fc.constantFrom("a", "é", "字", "😀", '"'), maxLength });
  const seldom = <T>(arbitrary: fc.Arbitrary<T>) =>
    fc.oneof({ weight: 9, arbitrary: fc.constant(null) }, { weight: 1, arbitrary });
  const alike = (topic: string, type: string | null, dedupeForMs: number | null) => ({ topic, type, dedupeForMs });
  const shared = fc.record({
    of: fc.constantFrom(alike("orders", null, null), alike("orders", "t", 5_000), alike("bills", "t", 60_000)),
    slot: fc.option(fc.nat(65_535)),
    lane: seldom(fc.nat(9)),
    doubtful: fc.boolean(),
    ordered: fc.boolean(),
    id: texts(90),
    key: fc.option(texts(30)),
    attempt: fc.oneof(fc.nat(3), fc.constant(70_000)),
    seq: fc.maxSafeNat(),
    time: fc.maxSafeNat(),
    headers: fc.dictionary(fc.constantFrom("a", "b"), texts(5)),
    correlationId: fc.option(texts(5)),
    delayMs: fc.nat(9),
    native: seldom(fc.record({ n: fc.nat() })),
    body: fc.uint8Array({ maxLength: 1_100 }),
  });

  it("are, each, what they would be by themselves, though many are shorter", () => {
    let short = 0;
    fc.assert(
      fc.property(fc.array(shared, { maxLength: 20 }), (all) => {
        const rows = all.map(({ of, slot, lane, doubtful, ...message }): NewRow => {
          const { topic, type, dedupeForMs } = of;
          const plain = row("m");
          return {
            ...plain,
            slot,
            lane,
            doubtful,
            dedupeForMs,
            message: { ...plain.message, ...message, topic, type },
          };
        });
        const { records, commons } = together(rows);
        expect(records.map((each) => [...commons.expand(each)])).toEqual(rows.map((each) => [...record(each)]));
        short += records.filter((each) => each[AT.format] === SHORT_FORMAT).length;
      }),
    );
    expect(short).toBeGreaterThan(0);
  });

  it("of more topics than have room beside them, or with much in common, stand for themselves", () => {
    const of = (topic: string): NewRow => ({ ...row("m"), message: { ...row("m").message, topic } });
    const topics = Array.from({ length: 10 }, (_, n) => `topic-${n}`);
    const { records, commons } = together(["x".repeat(600), ...topics, ...topics].map(of));
    const formats = records.map((each) => each[AT.format]);
    const full = [FORMAT, FORMAT];
    const eight = Array.from({ length: 8 }, () => SHORT_FORMAT);
    expect(formats).toEqual([FORMAT, ...eight, ...full, ...eight, ...full]);
    expect(records.map((each) => rowOf(Uint8Array.from(commons.expand(each))).message.topic)).toEqual([
      "x".repeat(600),
      ...topics,
      ...topics,
    ]);
  });

  it("cannot be read beside what others have in common", () => {
    const { records } = together([row("m")]);
    expect(() => new Commons(new Uint8Array(0)).expand(records[0] as Uint8Array)).toThrow(RangeError);
  });

  it("do not fit where what they have in common does not", () => {
    const heads = new Heads();
    const alone = new Batch(new ArrayBuffer(10_000), true);
    alone.add(row("m"), heads);
    const room = alone.used + alone.finish() + 3 * "m".length;
    const fits = (bytes: number): boolean => new Batch(new ArrayBuffer(bytes), true).add(row("m"), heads);
    expect([fits(room), fits(room - 3)]).toEqual([true, false]);
  });
});
