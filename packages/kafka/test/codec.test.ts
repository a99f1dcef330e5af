import { outgoing } from "@tallymq/testkit/port";
import { describe, expect, it } from "vitest";
import { incoming, record } from "../src/codec.ts";
import { headersOf } from "./fake-driver.ts";

const base = { offset: 0, timestamp: 0, key: null, value: Buffer.from("x"), native: null, unreadable: null };

describe("headers", () => {
  it("under names that every object has are the sender's bytes: kafkajs puts before them what it found on a plain object", () => {
    const headers = {
      constructor: [Object, Buffer.from("a")],
      toString: [Object.prototype.toString, Buffer.from("b")],
    } as unknown as Record<string, unknown>;
    const got = incoming("orders", { ...base, headers }).headers;
    expect({ ...got }).toEqual({ constructor: "a", toString: "b" });
    expect(Object.getPrototypeOf(got)).toBeNull();
  });

  it("that come several times have the last value", () => {
    const headers = { h: [Buffer.from("1"), Buffer.from("2")] };
    expect(incoming("orders", { ...base, headers }).headers["h"]).toBe("2");
  });

  it("without a value are left out", () => {
    expect(Object.keys(incoming("orders", { ...base, headers: { h: null } }).headers)).toEqual([]);
  });

  it("of ours are not among the caller's", () => {
    const sent = record(outgoing("1", { headers: { mine: "yes" }, type: "t", correlationId: "c" }));
    const wire = Object.fromEntries(Object.entries(headersOf(sent)).map(([name, text]) => [name, Buffer.from(text)]));
    expect(Object.keys(incoming("orders", { ...base, headers: wire }).headers)).toEqual(["mine"]);
  });
});

describe("a record", () => {
  it("says nothing of time but in a header: what waited for a week must not be old to the broker's retention", () => {
    const sent = record(outgoing("1", { time: 1_600_000_000_000 }));
    expect(Object.keys(sent)).toEqual(["key", "value", "headers"]);
    expect(headersOf(sent)["tally-time"]).toBe("1600000000000");
  });

  it("without a value (a tombstone) is an empty body", () => {
    expect(incoming("orders", { ...base, value: null, headers: {} }).body).toHaveLength(0);
  });
});

it("a record of a batch that could not be decompressed has a coding that nobody reads, so that it ends as a body like that does", () => {
  const headers = { "tally-content-encoding": Buffer.from("gzip") };
  expect(incoming("orders", { ...base, headers }).contentEncoding).toBe("gzip");
  expect(incoming("orders", { ...base, headers, unreadable: "a bomb" }).contentEncoding).toBe("kafka-batch");
});
