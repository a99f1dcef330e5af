import fc from "fast-check";
import { describe, expect, it } from "vitest";
import { openTally } from "@tallymq/core";
import { TallyError } from "@tallymq/core/spi";
import { rabbitmq, type RabbitOptions } from "@tallymq/rabbitmq";
import { type Field, typed } from "@tallymq/testkit/amqp-server";
import { readEndpoint } from "../src/endpoint.ts";
import { type Receiving, Stage } from "./stage.ts";

/** What a refusal may show are short words of letters: "5 parsecs" for a duration. This is none. */
const SECRET = "s3cr3t~of~many~letters";

/** Values of each type that a table on the wire can have. */
const { field } = fc.letrec<{ field: Field }>((tie) => ({
  field: fc.oneof(
    { depthSize: "small", withCrossShrink: true },
    fc.constantFrom(null, true, false, Number.NaN, Number.POSITIVE_INFINITY, -1, 2 ** 53, 1e308),
    fc.integer(),
    fc.double(),
    fc.bigInt({ min: -(2n ** 63n), max: 2n ** 63n - 1n }).map((n) => typed("l", n)),
    fc.string({ unit: "binary", maxLength: 40 }),
    fc.uint8Array({ maxLength: 40 }),
    fc.date({ noInvalidDate: true, min: new Date(0) }),
    fc.array(tie("field"), { maxLength: 4 }),
    fc.array(fc.tuple(fc.string({ maxLength: 20 }), tie("field")), { maxLength: 4 }).map((all) => new Map(all)),
  ),
}));
const OURS = ["tally-seq", "tally-key", "tally-attempt", "tally-causation-id", "tally-delay-to", "x-delivery-count"];
const EVIL = ["__proto__", "constructor", "prototype", "toString", "x-death", ""];
const header = fc.oneof(fc.constantFrom(...OURS, ...EVIL), fc.string({ unit: "binary", maxLength: 30 }));
const shortText = fc.string({ unit: "binary", maxLength: 40 });
const properties = fc.record(
  {
    headers: fc.array(fc.tuple(header, field), { maxLength: 8 }).map((all) => new Map(all)),
    messageId: shortText,
    appId: shortText,
    type: shortText,
    contentType: shortText,
    contentEncoding: shortText,
    correlationId: shortText,
    timestamp: fc.maxSafeNat(),
  },
  { requiredKeys: [] },
);

describe("security: every parser is fuzzed", () => {
  it("whatever properties and headers a sender writes: read as texts in a table without a prototype, and the next one is read too", async () => {
    const sent = fc.sample(properties, { numRuns: 400, seed: 5 });
    await using stage = await Stage.open({
      onConsume({ tag }, channel) {
        for (const one of sent) channel.deliver({ consumerTag: tag, properties: one as never, body: "{}" });
      },
    });
    const receiving: Receiving = await stage.receiver({ credit: 1_000 });
    const got = await receiving.first(sent.length);
    for (const { message, count } of got) {
      expect(Object.getPrototypeOf(message.headers)).toBeNull();
      expect(Object.values(message.headers).every((text) => typeof text === "string")).toBe(true);
      expect(Object.keys(message.headers).some((name) => name.startsWith("tally-") || name === "__proto__")).toBe(
        false,
      );
      expect(Number.isSafeInteger(message.attempt) && message.attempt >= 1).toBe(true);
      expect(count === null || (Number.isSafeInteger(count) && count >= 1)).toBe(true);
      for (const text of [message.id, message.producer, message.key, message.type, message.run, message.contentType])
        expect(text === null || typeof text === "string").toBe(true);
    }
    expect(receiving.lostWith).toEqual([]);
    expect(Object.keys(Object.prototype)).toEqual([]);
  });

  it("whatever options are given: taken, or refused as bad-config in one line", () => {
    const known: readonly string[] = Object.keys({
      urls: 0,
      name: 0,
      heartbeat: 0,
      queueType: 0,
      deliveryLimit: 0,
      longestDelay: 0,
      topics: 0,
      tls: 0,
      frameMax: 0,
      credentials: 0,
      connectTimeout: 0,
      plaintextPassword: 0,
    });
    const url = fc.oneof(fc.constant("amqps://h"), fc.constant(`amqps://u:${SECRET}@h`), fc.webUrl(), fc.anything());
    const any = fc.oneof(
      fc.constant(SECRET),
      fc.anything({ withBigInt: true, withNullPrototype: true, withDate: true, withTypedArray: true }),
    );
    const options = fc.tuple(
      fc.array(url, { maxLength: 3 }),
      fc.dictionary(fc.oneof(fc.constantFrom(...known), fc.string()), any, { maxKeys: 4 }),
    );
    fc.assert(
      fc.property(options, ([urls, more]) =>
        refusedOrTaken(() => rabbitmq({ urls, ...more } as unknown as RabbitOptions)),
      ),
      { numRuns: 2_000 },
    );
    fc.assert(
      fc.property(any, (given) => refusedOrTaken(() => rabbitmq(given as RabbitOptions))),
      { numRuns: 500 },
    );
  });

  it("whatever openTally is given: refused as bad-config, and no broker was opened", async () => {
    let opened = 0;
    const broker = {
      name: "none",
      open(): never {
        opened++;
        throw new TallyError("closed", "opened");
      },
    };
    const names = [
      "outbox",
      "inbox",
      "publish",
      "reconnect",
      "spill",
      "health",
      "memory",
      "durability",
      "connectWithin",
      "topics",
      "onEvent",
    ];
    const wrong = fc.oneof(
      fc.constantFrom(SECRET, -1, Number.NaN, 2 ** 31),
      fc.dictionary(fc.string({ minLength: 1 }), fc.anything(), { minKeys: 1, maxKeys: 3 }),
    );
    await fc.assert(
      fc.asyncProperty(fc.constantFrom(...names), wrong, async (name, given) => {
        const before = opened;
        const error: unknown = await openTally({ service: "shop", broker, [name]: given }).catch((e: unknown) => e);
        expect(TallyError.is(error)).toBe(true);
        const { code, message } = error as TallyError;
        // A dictionary may by chance hold a known option with a good value: then the broker is what refuses.
        expect(code === "bad-config" ? opened - before : 1, message).toBe(code === "bad-config" ? 0 : 1);
        expect(message).not.toContain(SECRET);
        expect(message).not.toMatch(/[\r\n]/);
      }),
      { numRuns: 500 },
    );
  });

  it("whatever a URL is: an endpoint that shows no password, or a refusal that quotes none of it", () => {
    const part = fc.oneof(
      fc.constantFrom(
        "amqp",
        "amqps",
        "http",
        "://",
        ":",
        "@",
        "/",
        "%",
        "%2F",
        "[::1]",
        "localhost",
        "?",
        "#",
        "99999",
      ),
      fc.string({ maxLength: 6 }),
    );
    const url = fc.array(part, { maxLength: 8 }).map((parts) => parts.join(""));
    const mangled = fc.tuple(url, url).map(([before, after]) => `${before}${SECRET}${after}`);
    const whole = fc.tuple(url, url).map(([user, rest]) => `amqp://${user}:${SECRET}@host${rest}`);
    fc.assert(
      fc.property(fc.oneof(mangled, whole), (text) => {
        try {
          const endpoint = readEndpoint("url", text);
          expect(endpoint.port).toBeGreaterThan(0);
          if (
            endpoint.password.includes(SECRET) &&
            !endpoint.hostname.includes(SECRET) &&
            !endpoint.vhost.includes(SECRET)
          )
            expect(endpoint.shown).not.toContain(SECRET);
        } catch (thrown) {
          expect(TallyError.is(thrown) && thrown.code).toBe("bad-config");
          expect((thrown as Error).message).not.toContain(SECRET);
          expect((thrown as Error).cause).toBeUndefined();
        }
      }),
      { numRuns: 3_000 },
    );
  });
});

function refusedOrTaken(work: () => unknown): void {
  try {
    work();
  } catch (thrown) {
    expect(TallyError.is(thrown) && thrown.code, String(thrown)).toBe("bad-config");
    expect((thrown as Error).message).not.toContain(SECRET);
    expect((thrown as Error).message).not.toMatch(/[\r\n]/);
  }
}
