import * as v from "valibot";
import { describe, expect, expectTypeOf, test } from "vitest";
import { z } from "zod";
import { json } from "../src/codec.ts";
import { type Topic, topic } from "../src/topic.ts";

const code = (c: string): unknown => expect.objectContaining({ code: c });

describe("a topic", () => {
  test("is a frozen value with defaults", () => {
    const plain = topic("orders");
    expect(plain).toEqual({
      name: "orders",
      type: "orders",
      compress: null,
      compressFrom: 1_024,
      maxInflatedBytes: null,
      schema: null,
      codec: json,
      key: null,
      ordered: false,
      groups: [],
      outbox: "fallback",
      dedupeFor: 7 * 86_400_000,
      maxBytes: null,
    });
    expect(Object.isFrozen(plain) && Object.isFrozen(plain.groups)).toBe(true);
  });

  test("keeps its own copy of the groups", () => {
    const groups = ["billing"];
    const orders = topic("orders", { groups });
    groups.push("audit");
    expect(orders.groups).toEqual(["billing"]);
  });

  test("has its types from the schema: input to publish, output to handle", () => {
    const orders = topic("orders", { schema: z.object({ n: z.coerce.number() }) });
    expectTypeOf(orders).toEqualTypeOf<Topic<{ n: unknown }, { n: number }>>();
    const bills = topic("bills", { schema: v.pipe(v.string(), v.transform(Number)), key: (text) => text });
    expectTypeOf(bills).toEqualTypeOf<Topic<string, number>>();
    expectTypeOf(orders).toExtend<Topic<never, { n: number }>>();
  });

  test.each<[string, unknown, object | undefined]>([
    ["no name", "", undefined],
    ["a name that is none", 5, undefined],
    ["NUL in its name", "a\0b", undefined],
    ["a name over 255 bytes", "ä".repeat(128), undefined],
    ["order without a key", "x", { ordered: true }],
    ["a schema of another make", "x", { schema: { parse() {} } }],
    ["a schema of another version", "x", { schema: { "~standard": { version: 2 } } }],
    ["half a codec", "x", { codec: { encode() {} } }],
    ["a key that is no function", "x", { key: "id" }],
    ["groups that are no names", "x", { groups: [""] }],
    ["a group given as text", "x", { groups: "billing" }],
    ["an unknown option", "x", { order: true }],
    ["null for a group", "x", { groups: [null] }],
    ["a largest body of nothing", "x", { maxBytes: 0 }],
    ["a largest body that is no number of bytes", "x", { maxBytes: "1 MiB" }],
    ["a memory of the inbox of no time", "x", { dedupeFor: 0 }],
  ])("with %s is refused", (_what, name, options) => {
    expect(() => topic(name as string, options)).toThrow(code("bad-config"));
  });
});
