import { outgoing } from "@tallymq/testkit/port";
import { describe, expect, it } from "vitest";
import { bodyOf, incoming, properties } from "../src/codec.ts";
import { came } from "./fake-driver.ts";

const there = (given: Parameters<typeof outgoing>[1]) => {
  const sent = outgoing("1", given);
  return { sent, got: incoming("orders", came("1", { properties: properties(sent), body: bodyOf(sent) })) };
};

describe("the envelope", () => {
  it("arrives as it was, with separators, capitals, empty values and what is no name of a property", () => {
    const headers = {
      "": "an empty name",
      empty: "",
      separators: "a\u0001b\u0002c\n",
      KEYS: "the broker's own name",
      __proto__x: "x",
      constructor: "none",
      tenant: "acme ✓",
    };
    const { got } = there({ headers, key: "k\u0001", correlationId: "a\nb", attempt: 7, type: "t" });
    expect({ ...got.headers }).toEqual(headers);
    expect(got).toMatchObject({ id: "1", key: "k\u0001", correlationId: "a\nb", attempt: 7, type: "t" });
  });

  it("puts nothing into a property that the broker would change", () => {
    const { sent } = there({ headers: { "a b": "1", empty: "", bad: "\u0001", KEYS: "k", fine: "yes" } });
    const plain = properties(sent);
    expect(plain.get("fine")).toBe("yes");
    for (const name of ["a b", "empty", "bad", "KEYS"]) expect(plain.has(name)).toBe(false);
  });

  it("of a foreign message has its message group for a key, and null for what nobody said", () => {
    const got = incoming("orders", came("1", { properties: new Map([["a", "b"]]), messageGroup: "g" }));
    expect(got).toMatchObject({ id: null, producer: null, seq: null, key: "g", time: null, attempt: 1 });
    expect({ ...got.headers }).toEqual({ a: "b" });
  });
});
