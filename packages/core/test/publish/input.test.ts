import { describe, expect, it } from "vitest";
import { z } from "zod";
import { bytes } from "../../src/codec.ts";
import { TallyError } from "../../src/error.ts";
import type { PublishOptions } from "../../src/publish/options.ts";
import { topic } from "../../src/topic.ts";
import { accepted, rig, watch } from "../support/scripted-transport.ts";

const plain = topic("plain");

/** Rejected at the call: nothing is sent, nothing is left over, and the window is free again. */
async function refused(body: unknown, options: PublishOptions = {}, over = plain): Promise<TallyError> {
  const r = rig({ window: 1 });
  const seen = watch(r.publisher.publish(over, body, options));
  await r.clock.advance(0);
  expect(seen.state).toBe("rejected");
  expect(TallyError.is(seen.error)).toBe(true);
  expect(r.copies).toHaveLength(0);
  expect(r.publisher.live).toBe(0);
  expect(r.count("rejected")).toBe(1);
  void r.publisher.publish(plain, 1, { id: "next" });
  await r.clock.advance(0);
  expect(r.copies.map((c) => c.message.id)).toEqual(["next"]);
  return seen.error as TallyError;
}

const cyclic: { self?: unknown } = {};
cyclic.self = cyclic;
let deep: unknown = [];
for (let i = 0; i < 200_000; i++) deep = [deep];

describe("a bad body is refused at the call", () => {
  it.each([
    ["undefined", undefined],
    ["a function", () => 1],
    ["a symbol", Symbol("s")],
    ["a cycle", cyclic],
    ["a BigInt", { n: 1n }],
    [
      "a throwing getter",
      {
        get n(): number {
          throw new Error("no");
        },
      },
    ],
    [
      "a throwing toJSON",
      {
        toJSON() {
          throw new Error("no");
        },
      },
    ],
    ["depth beyond the stack", deep],
  ])("%s", async (_name, body) => {
    const error = await refused(body, { id: "o-1" });
    expect(error).toMatchObject({ code: "bad-message", mayArrive: false });
  });

  it("not bytes, where the codec is bytes", async () => {
    expect(await refused("text" as never, {}, topic<Uint8Array>("raw", { codec: bytes }) as never)).toMatchObject({
      code: "bad-message",
    });
  });

  it("one byte over what the broker takes; exactly as much is sent", async () => {
    const raw = topic<Uint8Array>("raw", { codec: bytes });
    expect(await refused(new Uint8Array(1_000_001), { id: "big" }, raw as never)).toMatchObject({
      code: "too-large",
      id: "big",
    });
    const r = rig();
    void r.publisher.publish(raw, new Uint8Array(1_000_000));
    await r.clock.advance(0);
    expect(r.copies).toHaveLength(1);
  });

  it("what the schema does not take, with the issue's path and not the body", async () => {
    const typed = topic("typed", { schema: z.object({ card: z.string(), amount: z.number().positive() }) });
    const error = await refused({ card: "4111-1111", amount: -1 }, { id: "p-1" }, typed as never);
    expect(error).toMatchObject({ code: "schema", id: "p-1" });
    expect(error.message).toContain("amount");
    expect(error.message).not.toContain("4111");
  });
});

describe("bad headers, ids and keys are refused at the call", () => {
  const bad: readonly (readonly [string, PublishOptions])[] = [
    ["header undefined", { headers: { a: undefined as never } }],
    ["header function", { headers: { a: (() => 1) as never } }],
    ["header BigInt", { headers: { a: 1n as never } }],
    ["header NaN", { headers: { a: Number.NaN as never } }],
    ["header object", { headers: { a: cyclic as never } }],
    ["header with a lone surrogate", { headers: { a: "\ud800" } }],
    ["headers over 64 KiB", { headers: { a: "x".repeat(65_536) } }],
    ["header under a name of ours", { headers: { "tally-seq": "x/1" } }],
    ["header without a name", { headers: { "": "x" } }],
    ["id empty", { id: "" }],
    ["id a number", { id: 7 as never }],
    ["id over 255 bytes", { id: "é".repeat(128) }],
    ["id with NUL", { id: "a\0b" }],
    ["id with a lone surrogate", { id: "a\udc00" }],
    ["key over 255 bytes", { key: "k".repeat(256) }],
    ["key a number", { key: 7 as never }],
    ["correlation id empty", { correlationId: "" }],
  ];
  it.each(bad)("%s", async (_name, options) => {
    expect(await refused(1, options)).toMatchObject({ code: "bad-message", mayArrive: false });
  });

  it.each([
    ["unknown option", { idd: "x" } as never],
    ["deadline 0", { deadline: 0 }],
    ["deadline of 5 parsecs", { deadline: "5 parsecs" as never }],
    ["deadline NaN", { deadline: Number.NaN }],
  ] as readonly (readonly [string, PublishOptions])[])("%s", async (_name, options) => {
    expect(await refused(1, options)).toMatchObject({ code: "bad-config" });
  });

  it("a key function that throws, or gives no string", async () => {
    for (const key of [
      () => {
        throw new Error("no");
      },
      () => 7 as never,
    ]) {
      expect(await refused({}, {}, topic("keyed", { key }) as never)).toMatchObject({ code: "bad-message" });
    }
  });

  it("opaque ids pass as they are: quotes, slashes, dots, any script", async () => {
    const r = rig();
    const ids = ["../../etc/passwd", "'; drop table x; --", '"', "ÅÄÖ", "A\u030a", "x".repeat(255), "😀".repeat(63)];
    for (const id of ids) void r.publisher.publish(plain, 1, { id });
    await r.clock.advance(0);
    // Compared as bytes: what Unicode normalisation would make equal stays two messages.
    expect(r.copies.map((c) => c.message.id)).toEqual(ids);
  });
});

describe("the snapshot", () => {
  it("is not changed by what the caller does to body and headers afterwards", async () => {
    const r = rig();
    const body = { n: 1 };
    const headers: Record<string, string> = { a: "1" };
    const raw = new Uint8Array([1, 2, 3]);
    void r.publisher.publish(plain, body, { headers });
    void r.publisher.publish(topic<Uint8Array>("raw", { codec: bytes }), raw);
    body.n = 2;
    headers["a"] = "2";
    raw.fill(9);
    await r.clock.advance(0);
    expect(new TextDecoder().decode(r.copies[0]?.message.body)).toBe('{"n":1}');
    expect({ ...r.copies[0]?.message.headers }).toEqual({ a: "1" });
    expect([...(r.copies[1]?.message.body ?? [])]).toEqual([1, 2, 3]);
  });

  it("carries the envelope; seq counts the calls of a topic, and refused ones leave no number", async () => {
    const r = rig();
    void r.publisher.publish(plain, 1, {
      id: "a",
      key: "k",
      correlationId: "c",
      headers: { traceparent: "00-aa-bb-01" },
    });
    void r.publisher.publish(plain, undefined).catch(() => {});
    void r.publisher.publish(plain, 2, { id: "b" });
    void r.publisher.publish(topic("other"), 3, {
      id: "c",
      cause: { id: "a", correlationId: null, headers: { traceparent: "00-cc-dd-01", other: "x" } },
    });
    await r.clock.advance(0);
    const [a, b, c] = r.copies.map((copy) => copy.message);
    expect(a).toMatchObject({
      id: "a",
      producer: "shop",
      run: "a".repeat(32),
      seq: 1,
      topic: "plain",
      key: "k",
      type: "plain",
      contentType: "application/json",
      contentEncoding: null,
      time: 1_767_225_600_000,
      attempt: 1,
      correlationId: "c",
      causationId: null,
      native: null,
    });
    expect({ ...a?.headers }).toEqual({ traceparent: "00-aa-bb-01" });
    expect(b?.seq).toBe(2);
    expect(c).toMatchObject({ seq: 1, correlationId: "a", causationId: "a" });
    expect({ ...c?.headers }).toEqual({ traceparent: "00-cc-dd-01" });
  });

  it("gives an id where none is given: a UUIDv7, never twice", async () => {
    const r = rig({ window: 100_000 });
    for (let i = 0; i < 10_000; i++) void r.publisher.publish(plain, i);
    await r.clock.advance(0);
    const ids = r.copies.map((c) => c.message.id);
    expect(new Set(ids).size).toBe(10_000);
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(Number.parseInt(ids[0]?.replaceAll("-", "").slice(0, 12) ?? "", 16)).toBe(1_767_225_600_000);
  });

  it("small bodies cut from one slab do not run into each other", async () => {
    const r = rig({ window: 100_000 });
    const raw = topic<Uint8Array>("raw", { codec: bytes });
    const text = topic<string>("text");
    for (let i = 0; i < 3_000; i++) {
      void r.publisher.publish(raw, new Uint8Array(i % 300).fill(i % 251));
      void r.publisher.publish(text, "é".repeat(i % 200) + i);
    }
    await r.clock.advance(0);
    expect(r.copies).toHaveLength(6_000);
    for (const { message } of r.copies) {
      const i = message.seq - 1;
      if (message.topic === "raw")
        expect(message.body.length === i % 300 && message.body.every((b) => b === i % 251)).toBe(true);
      else expect(JSON.parse(new TextDecoder().decode(message.body))).toBe("é".repeat(i % 200) + i);
    }
  });

  it("takes an empty buffer, and null where the codec does", async () => {
    const r = rig();
    const done = r.publisher.publish(topic<Uint8Array>("raw", { codec: bytes }), new Uint8Array());
    void r.publisher.publish(plain, null);
    await r.clock.advance(0);
    expect(r.copies.map((c) => c.message.body.length)).toEqual([0, 4]);
    r.copies[0]?.verdict(accepted);
    await done;
  });
});
