import { describe, expect, test } from "vitest";
import * as v from "valibot";
import { z } from "zod";
import { bytes, type Codec } from "../../src/codec.ts";
import { topic } from "../../src/topic.ts";
import { asJson, bench, settle } from "../support/receiving.ts";

const orders = topic<{ id: string | null }>("orders");

describe("the body", () => {
  test("is what the schema gives, whichever library made it; the wire carries its input", async () => {
    const b = bench();
    const seen: unknown[] = [];
    const zodTopic = topic("orders", { schema: z.object({ n: z.coerce.number() }) });
    const valibotTopic = topic("bills", {
      schema: v.pipe(
        v.object({ n: v.string() }),
        v.transform(({ n }) => ({ n: Number(n) })),
      ),
    });
    await b
      .consumer()
      .on(zodTopic, ({ n }) => void seen.push(n))
      .on(valibotTopic, ({ n }) => void seen.push(n))
      .start();
    for (const receiver of b.transport.receivers) receiver.deliver({ id: "m", body: asJson({ n: "7" }) });
    expect(seen).toEqual([7, 7]);
  });

  test("an asynchronous schema is awaited before the handler runs", async () => {
    const b = bench();
    const seen: unknown[] = [];
    const slow = topic("orders", {
      schema: z.object({ n: z.number().refine(async (n) => n > 0) }).transform(({ n }) => n),
    });
    await b
      .consumer({ attempts: 1 })
      .on(slow, (n) => void seen.push(n))
      .start();
    b.receiver.deliver({ id: "good", body: asJson({ n: 1 }) }, { id: "bad", body: asJson({ n: -1 }) });
    expect(seen).toEqual([]);
    await settle();
    expect(seen).toEqual([1]);
    expect(b.of("attempt-failed").map(({ error }) => error.code)).toEqual(["schema"]);
    await b.clock.advance(10_000);
    expect(b.receiver.settled).toEqual(["ack good", "release bad"]);
  });

  test.each([
    ["no JSON", { body: new TextEncoder().encode("{") }, "decode"],
    ["no UTF-8", { body: Uint8Array.of(0xff) }, "decode"],
    ["an encoding that nobody here reads", { contentEncoding: "lzma" }, "decode"],
    ["no gzip, though it says so", { contentEncoding: "gzip" }, "decode"],
    ["other than the schema wants", { body: asJson({ id: 5 }) }, "schema"],
  ])(
    "%s: the handler does not run, nothing is tried again in place, the delivery is released after a back-off",
    async (_what, message, code) => {
      const b = bench();
      let ran = 0;
      const rulings: string[] = [];
      const strict = topic("orders", { schema: z.object({ id: z.string() }) });
      await b
        .consumer({
          onError: (error) => {
            rulings.push(error.code);
            return { kind: "retry", afterMs: 0 };
          },
        })
        .on(strict, () => void ran++)
        .start();
      b.receiver.deliver({ id: "m1", ...message });
      await b.clock.advance(60_000);
      expect(ran).toBe(0);
      expect(rulings).toEqual([code]);
      expect(b.receiver.settled).toEqual(["release m1"]);
      expect(b.of("released")).toMatchObject([{ topic: "orders", group: "billing", id: "m1", error: { code } }]);
    },
  );

  test.each(["identity", "UTF-8", ""])("content-encoding %j says nothing about the bytes", async (contentEncoding) => {
    const b = bench();
    await b
      .consumer()
      .on(orders, () => {})
      .start();
    b.receiver.deliver({ id: "m1", contentEncoding });
    await settle();
    expect(b.receiver.settled).toEqual(["ack m1"]);
  });

  test.each([
    [
      "throws",
      (): never => {
        throw new TypeError("schema's own");
      },
    ],
    ["gives nothing", () => undefined as never],
    ["rejects", () => Promise.reject(new TypeError("schema's own"))],
  ])("a schema that %s is a schema error", async (_what, validate) => {
    const b = bench();
    const broken = topic("orders", { schema: { "~standard": { version: 1 as const, vendor: "test", validate } } });
    await b
      .consumer()
      .on(broken, () => {})
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(10_000);
    expect(b.of("attempt-failed")).toMatchObject([{ error: { code: "schema" } }]);
    expect(b.receiver.settled).toEqual(["release m1"]);
  });

  test("a schema whose promise is of another make is awaited too", async () => {
    const b = bench();
    const seen: unknown[] = [];
    // oxlint-disable-next-line unicorn/no-thenable -- a promise of another make is what this is about
    const validate = (value: unknown): never => ({ then: (f: (r: unknown) => void) => f({ value: [value] }) }) as never;
    await b
      .consumer()
      .on(
        topic("orders", { schema: { "~standard": { version: 1 as const, vendor: "test", validate } } }),
        (body) => void seen.push(body),
      )
      .start();
    b.receiver.deliver({ id: "m1" });
    await settle();
    expect(seen).toEqual([[{ id: "m1" }]]);
  });

  test("no error about it quotes it, also when a codec or a schema throws", async () => {
    const canary = "canary-4711";
    const b = bench();
    const broken: Codec<unknown> = {
      contentType: "text/plain",
      encode: () => new Uint8Array(),
      decode: () => {
        throw new RangeError("broken codec");
      },
    };
    await b
      .consumer()
      .on(topic("orders", { codec: broken }), () => {})
      .on(topic("bills"), () => {})
      .start();
    for (const receiver of b.transport.receivers)
      receiver.deliver({ body: new TextEncoder().encode(`{"password": "${canary}`) });
    await settle();
    const failed = b.of("attempt-failed");
    expect(failed.map(({ error }) => error.code)).toEqual(["decode", "decode"]);
    for (const { error } of failed)
      expect(`${error.stack} ${String(error.cause)} ${JSON.stringify(error)}`).not.toContain(canary);
  });

  test("of a bytes topic are the bytes", async () => {
    const b = bench();
    const seen: Uint8Array[] = [];
    await b
      .consumer()
      .on(topic("orders", { codec: bytes }), (body) => void seen.push(body))
      .start();
    b.receiver.deliver({ body: Uint8Array.of(1, 2) });
    expect(seen).toEqual([Uint8Array.of(1, 2)]);
  });
});
