// One table of bad inputs: bodies that cannot be sent, and bodies that came and cannot be read.
import { gzipSync } from "node:zlib";
import { memory, memoryOutbox } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { z } from "zod";
import { bytes, json, MAX_DEPTH } from "../../src/codec.ts";
import { openTally, type Topic, topic } from "../../src/index.ts";
import type { Incoming } from "../../src/message.ts";
import { turns, world } from "../support/guarded.ts";
import { asJson, bench } from "../support/receiving.ts";
import { CANARY, refused, thrownBy } from "../support/refused.ts";
import { accepted, rig } from "../support/scripted-transport.ts";

const plain = topic("plain");
const raw = topic<Uint8Array>("raw", { codec: bytes });

/** `depth` arrays in each other. */
function nested(depth: number): unknown {
  let body: unknown = "x";
  for (let i = 0; i < depth; i++) body = i % 2 === 0 ? [body] : { a: body };
  return body;
}

describe("undefined, function, symbol; cyclic; BigInt; throwing getter or `toJSON`; depth 5,000: rejected, no partial write", () => {
  const cyclic: { self?: unknown } = {};
  cyclic.self = cyclic;
  const boom = (): never => {
    throw new Error("boom");
  };
  it.each([
    ["undefined", undefined, "must be a JSON value; got undefined"],
    ["a function", () => 1, "must be a JSON value; got function"],
    ["a symbol", Symbol("s"), "must be a JSON value; got symbol"],
    ["a cycle", cyclic, "circular"],
    ["a BigInt", { n: 1n }, "BigInt"],
    ["a throwing getter", Object.defineProperty({}, "n", { get: boom, enumerable: true }), "boom"],
    ["a throwing toJSON", { toJSON: boom }, "boom"],
    ["a toJSON that gives nothing", { toJSON: () => undefined }, "must be a JSON value"],
    // How much the stack holds is another matter, and another number each time.
    ["depth 1,500", nested(1_500), "nested deeper than 1000"],
    ["depth 5,000", nested(5_000), ""],
    ["depth beyond any stack", nested(300_000), ""],
  ])("%s", async (_what, body, says) => {
    const error = await refused(body, { id: "o-1" });
    expect(error).toMatchObject({ code: "bad-message", mayArrive: false, retryable: false });
    expect(error.message).toContain(says);
  });

  it("one level over the depth; exactly as much is sent, and read; brackets in texts do not count", () => {
    expect(() => json.encode(nested(MAX_DEPTH + 1))).toThrow("nested deeper than 1000");
    for (const body of [nested(MAX_DEPTH), `${"[".repeat(5_000)}\\"${"{".repeat(5_000)}`, Array(3_000).fill([])])
      expect(json.decode(json.encode(body))).toEqual(body);
  });

  it("one after which others of the same call of publishMany go out, whole", async () => {
    const broker = memory();
    await using tally = await openTally({ service: "shop", broker });
    const orders = topic<unknown>("orders", { groups: ["billing"] });
    const results = await tally.publishMany(orders, [{ body: 1 }, { body: cyclic }, { body: 3 }, undefined as never]);
    expect(results.map((r) => ("code" in r ? r.code : r.state))).toEqual([
      "confirmed",
      "bad-message",
      "confirmed",
      "bad-message",
    ]);
    expect(broker.messages("orders", "billing").map((m) => new TextDecoder().decode(m.message.body))).toEqual([
      "1",
      "3",
    ]);
  });

  it("not bytes, where the codec is bytes", async () => {
    for (const body of ["text", null, undefined, [1], new ArrayBuffer(2), 5])
      expect((await refused(body, {}, raw)).message).toContain("[bad-message] the body must be a Uint8Array; got");
  });

  it("what the schema does not take, with the issue's path and not the body", async () => {
    const typed = topic("typed", { schema: z.object({ card: z.string(), amount: z.number().positive() }) });
    const error = await refused({ card: CANARY, amount: -1 }, { id: "p-1" }, typed);
    expect(error).toMatchObject({ code: "schema", id: "p-1", mayArrive: false });
    expect(error.message).toContain("amount");
  });
});

describe("empty buffer, null where the codec allows it: round-trips", () => {
  it.each([
    ["an empty buffer", raw, new Uint8Array()],
    ["null", plain, null],
    ["an empty text", plain, ""],
    ["an empty object", plain, {}],
  ])("%s", async (_what, over, body) => {
    const to = topic<never>(over.name, { groups: ["g"], codec: over.codec as never });
    await using tally = await openTally({ service: "shop", broker: memory() });
    const got = Promise.withResolvers<unknown>();
    await tally
      .consumer("g")
      .on(to, (received) => got.resolve(received))
      .start();
    expect(await tally.publish(to, body as never)).toMatchObject({ state: "confirmed" });
    expect(await got.promise).toEqual(body);
  });

  it("null is no bytes, and undefined no JSON", async () => {
    expect(await refused(null, {}, raw)).toMatchObject({ code: "bad-message" });
    expect(await refused(undefined)).toMatchObject({ code: "bad-message" });
  });
});

describe("one byte over the limit: rejected before the outbox", () => {
  it("says how much it was and how much is taken", async () => {
    const error = await refused(new Uint8Array(1_000_001), { id: "big" }, raw);
    expect(error).toMatchObject({ code: "too-large", id: "big", mayArrive: false });
    expect(error.message).toBe("[too-large] the body of big has 1000001 bytes; scripted takes at most 1000000");
    // As text: the limit is one of bytes.
    expect(await refused("é".repeat(499_999) + "x")).toMatchObject({ code: "too-large" });
  });

  it("exactly as much is sent", async () => {
    const r = rig();
    void r.publisher.publish(raw, new Uint8Array(1_000_000));
    void r.publisher.publish(plain, "é".repeat(499_999));
    await r.clock.advance(0);
    expect(r.copies.map((c) => c.message.body.length)).toEqual([1_000_000, 1_000_000]);
  });
});

describe("body mutated after `publish()`: the message is a snapshot", () => {
  it("of body and headers, also while it waits", async () => {
    const r = rig({ window: 2 });
    const body = { n: 1 };
    const headers: Record<string, string> = { a: "1" };
    const given = new Uint8Array([1, 2, 3]);
    void r.publisher.publish(plain, body, { headers });
    void r.publisher.publish(raw, given);
    void r.publisher.publish(plain, body);
    body.n = 2;
    headers["a"] = "2";
    given.fill(9);
    await r.clock.advance(0);
    for (const copy of r.copies.slice()) copy.verdict(accepted);
    await r.clock.advance(0);
    expect(new TextDecoder().decode(r.copies[0]?.message.body)).toBe('{"n":1}');
    expect({ ...r.copies[0]?.message.headers }).toEqual({ a: "1" });
    expect([...(r.copies[1]?.message.body ?? [])]).toEqual([1, 2, 3]);
    expect(new TextDecoder().decode(r.copies[2]?.message.body)).toBe('{"n":1}');
  });

  it("also of what is stored", async () => {
    const outbox = memoryOutbox();
    const stored = topic<{ n: number }>("stored", { outbox: "always" });
    await using tally = await openTally({ service: "shop", broker: memory(), outbox });
    outbox.stealLease();
    const body = { n: 1 };
    const publishing = tally.publish(stored, body);
    body.n = 2;
    await publishing;
    expect(outbox.rows.map((row) => new TextDecoder().decode(row.message.body))).toEqual(['{"n":1}']);
  });

  it("a handler that changes what it was given changes no other attempt's", async () => {
    const b = bench();
    const seen: unknown[] = [];
    await b
      .consumer()
      .on(topic<{ n: number }>("orders"), (body, { attempt }) => {
        seen.push({ ...body });
        body.n = 99;
        if (attempt === 1) throw new Error("once");
      })
      .start();
    b.receiver.deliver({ id: "m1", body: asJson({ n: 1 }) });
    await b.clock.advance(1_000);
    expect(seen).toEqual([{ n: 1 }, { n: 1 }]);
  });
});

/** Delivered to a consumer with an inbox: what its dead letter is, and that its handler never ran. */
async function buried(message: Partial<Incoming>, over: Topic<never, unknown> = topic("orders")) {
  const w = world();
  const a = await w.process();
  let ran = 0;
  await a
    .consumer()
    .on(over, () => void ran++)
    .start();
  a.receiver.deliver({ id: "m1", ...message });
  // A bomb is inflated off the loop, as far as it may be.
  await expect.poll(() => a.receiver.settled.length).toBe(1);
  await turns();
  expect(ran).toBe(0);
  expect(a.receiver.settled).toEqual(["ack m1"]);
  expect(a.letters).toHaveLength(1);
  const [failed] = a.of("attempt-failed");
  expect(`${failed!.error.stack} ${String(failed!.error.cause)}`).not.toContain(CANARY);
  return { letter: a.letters[0]!, code: failed!.error.code };
}

describe("gzip bomb, truncated gzip, wrong content-encoding, invalid UTF-8, JSON with `__proto__` (received): parsed safely; dead-lettered with the raw bytes kept", () => {
  const bomb = gzipSync(Buffer.alloc(20_000_000));
  const bodies: readonly (readonly [string, Partial<Incoming>])[] = [
    ["a gzip bomb", { contentEncoding: "gzip", body: bomb }],
    ["truncated gzip", { contentEncoding: "gzip", body: bomb.subarray(0, 20) }],
    ["a content-encoding of nobody's", { contentEncoding: "rot13\r\nx: y", body: asJson(1) }],
    ["invalid UTF-8", { body: Uint8Array.of(0x22, 0xff, 0x22) }],
    ["half a JSON text, with a secret", { body: new TextEncoder().encode(`{"card":"${CANARY}`) }],
    ["nothing at all", { body: new Uint8Array() }],
    ["nested 5,000 deep", { body: new TextEncoder().encode(`${"[".repeat(5_000)}${"]".repeat(5_000)}`) }],
    ["nested 300,000 deep", { body: new TextEncoder().encode(`${"[".repeat(300_000)}${"]".repeat(300_000)}`) }],
  ];
  it.each(bodies)("%s", async (_what, message) => {
    const { letter, code } = await buried(message);
    expect(code).toBe("decode");
    expect(letter.body).toBe(new TextDecoder().decode(message.body));
    expect(letter.bytes).toEqual(message.body);
    expect(letter.options.id).toBe("m1");
    if (message.contentEncoding !== undefined) expect(letter.contentEncoding).toBe(message.contentEncoding);
  });

  it.each(bodies)("without an inbox it is released, never acked: %s", async (_what, message) => {
    const b = bench();
    await b
      .consumer()
      .on(topic("orders"), () => {})
      .start();
    b.receiver.deliver({ id: "m1", ...message });
    await expect.poll(() => b.of("attempt-failed").length).toBe(1);
    await b.clock.advance(60_000);
    expect(b.receiver.settled).toEqual(["release m1"]);
    expect(b.of("released")).toMatchObject([{ id: "m1", error: { code: "decode" } }]);
  });

  it.each([
    '{"__proto__":{"admin":true},"a":1}',
    '{"\\u005f_proto__":{"admin":true},"a":1}',
    '{"__\\u0070roto__":{"admin":true},"a":1}',
    '{"a":1,"b":[{"__proto__":{"admin":true}}]}',
  ])("JSON with __proto__ is read without it: %s", async (text) => {
    const b = bench();
    const seen: Record<string, unknown>[] = [];
    await b
      .consumer()
      .on(topic<Record<string, unknown>>("orders"), (body) => void seen.push(body))
      .start();
    b.receiver.deliver({ id: "m1", body: new TextEncoder().encode(text) });
    const [body] = seen;
    expect(body!["a"]).toBe(1);
    expect(JSON.stringify(body)).not.toContain("proto");
    // What the next careless copy would obey.
    expect(Object.assign({}, body)["admin"]).toBe(undefined);
    expect(({} as Record<string, unknown>)["admin"]).toBe(undefined);
  });
});

describe("unknown schema version, failing schema (received): dead-lettered or parked, never dropped", () => {
  const v1 = z.object({ v: z.literal(1), card: z.string() });
  it.each([
    ["a version that this consumer does not know", { v: 2, card: CANARY, more: true }],
    ["a body of another shape", { v: 1, card: 5 }],
    ["null", null],
  ])("%s", async (_what, body) => {
    const { letter, code } = await buried({ body: asJson(body) }, topic("orders", { schema: v1 }));
    expect(code).toBe("schema");
    expect(letter.bytes).toEqual(asJson(body));
    expect(letter.options.headers!["dead-reason"]).not.toContain(CANARY);
  });

  it("a schema that throws, or rejects, loses nothing either", async () => {
    for (const validate of [() => Promise.reject(new Error("down")), () => undefined as never]) {
      const schema = { "~standard": { version: 1 as const, vendor: "test", validate } };
      expect((await buried({ body: asJson(1) }, topic("orders", { schema }))).code).toBe("schema");
    }
  });

  it("a schema of a version that is not known is refused where the topic is made", async () => {
    const error = await thrownBy(() => topic("orders", { schema: { "~standard": { version: 2 } } as never }));
    expect(error.message).toMatch(/\[bad-config\] topic "orders": schema must be a Standard Schema .*; got an object/);
  });
});
