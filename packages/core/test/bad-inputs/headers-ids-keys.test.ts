// Headers, ids and keys, the rows of one table: what may not be sent, and what came from a sender who is not believed.
import { memory, memoryInbox, memoryOutbox, seededRandom, virtualClock } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { deadLetter } from "../../src/consume/rulings.ts";
import { oneLine } from "../../src/error.ts";
import { type Context, openTally, TallyError, type TallyEvent, topic } from "../../src/index.ts";
import { parseAttempt, parseSeq } from "../../src/message.ts";
import type { PublishOptions } from "../../src/publish/options.ts";
import { Spoofs, spoofedHeaders } from "../../src/spoofs.ts";
import { turns, world } from "../support/guarded.ts";
import { asJson, bench } from "../support/receiving.ts";
import { CANARY, refused } from "../support/refused.ts";
import { rig, watch } from "../support/scripted-transport.ts";

const plain = topic("plain");
const orders = topic<{ id: string | null }>("orders");

/** Refused by each of these options, definitely, in words that name what was wrong. */
async function refuses(options: PublishOptions, says: string): Promise<void> {
  const error = await refused(1, options);
  expect(error).toMatchObject({ code: "bad-message", mayArrive: false, retryable: false });
  expect(error.message).toContain(says);
  expect(error.message.length).toBeLessThan(1_000);
}

const cyclic: { self?: unknown } = {};
cyclic.self = cyclic;
const OPAQUE = [
  "../../etc/passwd",
  "..\\..\\windows",
  "'; drop table tally_rows; --",
  '"',
  "`$(reboot)`",
  "%00",
  "constructor",
  "__proto__",
  "<script>alert(1)</script>",
  "a\r\nb: c",
  "ÅÄÖ",
  "x".repeat(255),
  "😀".repeat(63),
];
/** Equal after normalisation (NFC), and for the eye. */
const ALIKE = ["\u00c5", "A\u030a", "\u212b"];

describe("header undefined / function / BigInt / NaN / Infinity / lone surrogate / cyclic / over 64 KiB: rejected before the outbox", () => {
  it.each<[string, unknown, string]>([
    ["undefined", undefined, 'header "a" of'],
    ["a function", () => 1, "must be well-formed text; got function"],
    ["a BigInt", 1n, "must be well-formed text; got bigint"],
    ["NaN", Number.NaN, "must be well-formed text; got number"],
    ["Infinity", Number.POSITIVE_INFINITY, "must be well-formed text; got number"],
    ["a symbol", Symbol("x"), "must be well-formed text; got symbol"],
    ["null", null, "must be well-formed text; got null"],
    ["a cycle", cyclic, "must be well-formed text; got object"],
    ["an object with a secret", { password: CANARY }, "must be well-formed text; got object"],
    ["a lone surrogate", `\ud800${CANARY}`, "must be well-formed text"],
  ])("%s", async (_what, value, says) => {
    await refuses({ headers: { a: value as string } }, says);
  });

  it("over 64 KiB in all, names included; exactly as much is sent", async () => {
    await refuses({ headers: { a: "x".repeat(65_536) } }, "have 65537 bytes; at most 65536 are sent");
    await refuses({ headers: { a: "é".repeat(32_768) } }, "have 65537 bytes");
    const r = rig();
    void r.publisher.publish(plain, 1, { headers: { a: "x".repeat(65_535) } });
    await r.clock.advance(0);
    expect(r.copies).toHaveLength(1);
  });

  it.each(["", "x".repeat(129), "\ud800", "tally-seq", "Tally-Attempt"])("under the name %j", async (name) => {
    await refuses({ headers: { [name]: "x" } }, "is no name for a header: 1 to 128 bytes, not beginning with tally-");
  });
});

describe("received `__proto__` / `constructor` header: null-prototype copy, no pollution", () => {
  it("what is sent under these names arrives under them, in a table without a prototype, and in its dead letter", async () => {
    const broker = memory();
    const topics = topic("orders", { groups: ["billing"] });
    await using tally = await openTally({ service: "shop", broker, inbox: memoryInbox() });
    const headers = JSON.parse('{"__proto__":"p","constructor":"c","toString":"t"}') as Record<string, string>;
    const seen = Promise.withResolvers<Readonly<Record<string, string>>>();
    await tally
      .consumer("billing", { onError: () => deadLetter("no") })
      .on(topics, (_body, context) => {
        seen.resolve(context.headers);
        throw new Error("no");
      })
      .start();
    await tally.publish(topics, 1, { headers });
    const got = await seen.promise;
    expect(Object.getPrototypeOf(got)).toBe(null);
    expect(Object.entries(got)).toEqual(Object.entries(headers));
    const letters = topic("orders.billing.dead-letters", { groups: ["dead-letters"] });
    broker.declare(letters);
    await expect.poll(() => broker.messages(letters.name, "dead-letters").length).toBe(1);
    const [letter] = broker.messages(letters.name, "dead-letters");
    expect(Object.entries(letter!.message.headers)).toEqual(expect.arrayContaining(Object.entries(headers)));
    expect(({} as Record<string, unknown>)["polluted"]).toBe(undefined);
  });
});

describe('spoofed Tally header (attempt −1, "abc", 1e308; foreign id): treated as 1, surfaced; attempts capped', () => {
  it.each([-1, 0, "abc", 1e308, 1.5, Number.NaN, null, {}, [], "", "1e3", " 7", "07", 1_000_001, true])(
    "attempt %j",
    (given) => {
      const attempt = parseAttempt(given);
      // A number in another spelling may be read; it is still none that a Tally has written.
      expect(Number.isInteger(attempt) && attempt >= 1 && attempt <= 1_000_000).toBe(true);
      expect(spoofedHeaders({ "tally-attempt": given })).toEqual(["tally-attempt"]);
    },
  );

  it.each([-1, 0, "abc", 1e308, 1.5, null, {}])("attempt %j is 1", (given) => {
    expect(parseAttempt(given)).toBe(1);
  });

  it("what a Tally writes is not spoofed, and what nobody wrote neither", () => {
    for (const attempt of [1, 7, "7", 1_000_000, "1000000"]) {
      expect(parseAttempt(attempt)).toBe(Number(attempt));
      expect(spoofedHeaders({ "tally-attempt": attempt })).toEqual([]);
    }
    expect(spoofedHeaders({ "tally-seq": "run/7", other: -1 })).toEqual([]);
  });

  it.each(["run/0", "run/-1", "/5", "run", `run/${2 ** 53}`, 5, null, "run/1.5"])("sequence %j is none", (given) => {
    expect(parseSeq(given)).toEqual({ run: null, seq: null });
    expect(spoofedHeaders({ "tally-seq": given })).toEqual(["tally-seq"]);
  });

  it("is surfaced once a session, by name", () => {
    const said: string[] = [];
    const from = { topic: { name: "orders", ordered: false, groups: [] }, group: "billing" };
    const spoofs = new Spoofs(from, { surfaced: (what) => void said.push(what) });
    spoofs.look({ other: -1, "tally-attempt": "7" });
    expect(said).toEqual([]);
    for (let n = 0; n < 3; n++) spoofs.look({ "tally-attempt": -1, "tally-seq": "run" });
    expect(said).toEqual([
      "a message of orders for billing has a tally-seq and a tally-attempt that no Tally has written: read as if it were not there",
    ]);
  });

  it("a foreign id is the id under its own producer: it hides no message of ours", async () => {
    const w = world();
    const a = await w.process();
    const ran: string[] = [];
    await a
      .consumer()
      .on(orders, (_body, { producer }) => void ran.push(producer ?? "nobody"))
      .start();
    a.receiver.deliver({ id: "pay-1", producer: null }, { id: "pay-1", producer: "mallory" }, { id: "pay-1" });
    await turns();
    expect(ran).toEqual(["nobody", "mallory", "shop"]);
  });
});

describe("CR/LF in a header: escaped in logs and pages", () => {
  const evil = 'x\r\nlevel=error msg="root login"\u2028\u0085\u001b[2K';
  const throwing = (): never => {
    throw new Error(evil);
  };
  const lines = (text: string): number => text.split(/[\r\n\u2028\u2029\u0085]/).length;

  it("in every error, whatever brought it there: one line", async () => {
    const errors = [
      await refused(undefined, { id: evil }),
      await refused(1, { id: evil, headers: { a: "x".repeat(70_000) } }),
      await refused(1, { headers: { [`${evil}\ud800`]: "x" } }),
      await refused({ n: 1 }, { id: evil }, topic("keyed", { key: throwing })),
      new TallyError("handler", evil),
    ];
    for (const error of errors) {
      expect(lines(error.message)).toBe(1);
      expect(error.message).not.toContain("\u001b");
    }
    expect(errors[1]!.message).toContain("x\\r\\nlevel=error");
    // The id itself is data, and stays what it is.
    expect(errors[1]!.id).toBe(evil);
  });

  it("in every text and reason of an event: one line; what the message says is not changed", async () => {
    const w = world();
    const a = await w.process();
    await a
      .consumer({ onError: () => deadLetter(evil) })
      .on(orders, throwing)
      .start();
    a.noLetters = new TallyError("unreachable", evil, { retryable: true });
    a.receiver.deliver({ id: evil, headers: { a: evil } });
    await w.until(() => a.receiver.settled.length > 0, 30_000);
    a.noLetters = null;
    a.receiver.deliver({ id: evil, headers: { a: evil }, count: 2 });
    a.receiver.events.surfaced(evil);
    await turns();
    const texts = a.events.flatMap((event: TallyEvent) => {
      const { text, reason, error } = event as { text?: string; reason?: string; error?: TallyError };
      return [text, reason, error?.message].filter((t) => t !== undefined);
    });
    expect(texts.length).toBeGreaterThan(4);
    for (const text of texts) expect(lines(text)).toBe(1);
    expect(a.letters[0]!.options.headers!["a"]).toBe(evil);
  });

  it("escapes what begins a line or moves the cursor, and nothing else", () => {
    expect(oneLine("a\r\nb\tc\u0000\u007f\u2029")).toBe("a\\r\\nb\\u0009c\\u0000\\u007f\\u2029");
    expect(oneLine("Grüße, 世界 😀 \\n")).toBe("Grüße, 世界 😀 \\n");
  });
});

describe("id missing: generated when sent; a foreign message gets a derived id", () => {
  it("a UUIDv7, never twice", async () => {
    const r = rig({ window: 100_000 });
    for (let i = 0; i < 10_000; i++) void r.publisher.publish(plain, i);
    await r.clock.advance(0);
    const ids = r.copies.map((c) => c.message.id);
    expect(new Set(ids).size).toBe(10_000);
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
    expect(Number.parseInt(ids[0]?.replaceAll("-", "").slice(0, 12) ?? "", 16)).toBe(1_767_225_600_000);
  });

  it("derived by the consumer's function, else from the broker's place; an empty id is none", async () => {
    for (const id of [null, ""]) {
      const foreign = { id, producer: null, body: asJson({ cents: 100 }) };
      const w = world();
      const a = await w.process({ position: true });
      const ran: (string | null)[] = [];
      await a
        .consumer({}, "by-place")
        .on(orders, (_body, context: Context) => void ran.push(context.id))
        .start();
      a.receiver.deliver({ ...foreign, place: "0/17" }, { ...foreign, place: "0/18" }, { ...foreign, place: "0/17" });
      await turns();
      expect(ran).toEqual([null, null]);
      await a
        .consumer({ id: ({ headers }) => headers["n"] ?? "" }, "by-function")
        .on(orders, (_body, context: Context) => void ran.push(context.id))
        .start();
      a.receiver.deliver(...["1", "2", "1"].map((n) => ({ ...foreign, headers: { n } })));
      await turns();
      expect(ran.slice(2)).toEqual(["1", "2"]);
    }
  });

  it("two that cannot be told apart are two: an empty id hides none of them", async () => {
    for (const id of [null, ""]) {
      const w = world();
      const a = await w.process();
      let ran = 0;
      await a
        .consumer()
        .on(orders, () => void ran++)
        .start();
      a.receiver.deliver({ id, body: asJson(1) }, { id, body: asJson(1) }, { id, body: asJson(2) });
      await turns();
      expect([ran, a.receiver.settled.length, a.letters.length]).toEqual([3, 3, 0]);
      expect(a.of("unidentified")).toHaveLength(1);
      expect(a.of("unguarded")).toHaveLength(3);
    }
  });
});

describe("id empty, numeric, over 255 bytes, with NUL, `../`, quotes: rejected or opaque; stores are parameterised", () => {
  it.each<[string, unknown, string]>([
    ["empty", "", "id must have 1 to 255 bytes of UTF-8; got 0"],
    ["numeric", 7, "id must be a string; got number"],
    ["null", null, "id must be a string; got null"],
    ["an object", { toString: () => "x" }, "id must be a string; got object"],
    ["256 bytes", "é".repeat(128), "id must have 1 to 255 bytes of UTF-8; got 256"],
    ["10 MB", "x".repeat(10_000_000), "id must have 1 to 255 bytes of UTF-8; got 10000000"],
    ["with NUL", "a\0b", "id must be well-formed text without NUL"],
    ["a lone surrogate", "a\udc00", "id must be well-formed text without NUL"],
  ])("%s: rejected", async (_what, id, says) => {
    await refuses({ id: id as string }, says);
  });

  it("what is opaque passes as it is, to the broker and through inbox and outbox", async () => {
    const broker = memory();
    const outbox = memoryOutbox();
    const to = topic<number>("orders", { groups: ["billing"], outbox: "always" });
    await using tally = await openTally({ service: "shop", broker, outbox, inbox: memoryInbox() });
    const seen: (string | null)[] = [];
    await tally
      .consumer("billing", { lanes: 1 })
      .on(to, (_body, { id }) => void seen.push(id))
      .start();
    for (const round of [1, 2])
      for (const id of OPAQUE) expect(await tally.publish(to, 1, { id }), `${round}`).toMatchObject({ id });
    await expect.poll(() => seen.length).toBe(OPAQUE.length);
    await expect.poll(() => outbox.rows.length).toBe(0);
    await broker.idle();
    expect(seen.toSorted()).toEqual(OPAQUE.toSorted());
  });
});

describe("same id, different body: conflict surfaced, never overwritten", () => {
  it("in flight: the second is rejected, the first goes on", async () => {
    const r = rig();
    const first = watch(r.publisher.publish(plain, 1, { id: "m" }));
    const second = watch(r.publisher.publish(plain, 2, { id: "m" }));
    await r.clock.advance(0);
    expect(second.error).toMatchObject({ code: "conflict", id: "m", mayArrive: false });
    expect(first.state).toBe("pending");
    expect(r.copies.map((c) => new TextDecoder().decode(c.message.body))).toEqual(["1"]);
    expect(r.events.filter((e) => e.type === "rejected")).toMatchObject([{ id: "m", code: "conflict" }]);
  });

  it("in the outbox: the row stays what it was", async () => {
    const outbox = memoryOutbox();
    const host = { clock: virtualClock(), random: seededRandom(1), surfaced: () => {} };
    const r = rig({ spill: { store: await outbox.openOutbox(host), policy: { after: 1_000, relayWindow: 100 } } });
    const stored = topic<number>("stored", { outbox: "always" });
    const given = [watch(r.publisher.publish(stored, 1, { id: "m" }))];
    for (let i = 0; i < 12; i++) await r.clock.advance(0);
    for (const body of [2, 1]) {
      given.push(watch(r.publisher.publish(stored, body, { id: "m" })));
      for (let i = 0; i < 12; i++) await r.clock.advance(0);
    }
    expect(given.map((g) => g.value ?? g.error)).toMatchObject([
      { id: "m", state: "stored" },
      { id: "m", code: "conflict" },
      { id: "m", state: "stored" },
    ]);
    expect(outbox.rows.map((row) => new TextDecoder().decode(row.message.body))).toEqual(["1"]);
  });

  it("in the inbox: a dead letter of its own, never acked as a duplicate", async () => {
    const w = world();
    const a = await w.process();
    const ran: unknown[] = [];
    await a
      .consumer()
      .on(topic("orders"), (body) => void ran.push(body))
      .start();
    a.receiver.deliver({ id: "m", body: asJson(1) }, { id: "m", body: asJson(2) });
    await turns();
    expect(ran).toEqual([1]);
    expect(a.of("conflict")).toMatchObject([{ id: "m" }]);
    expect(a.of("duplicate")).toEqual([]);
    expect(a.letters).toMatchObject([{ body: "2", options: { headers: { "dead-id": "m" } } }]);
    expect(a.letters[0]!.options.id).not.toBe("m");
  });
});

describe("same id from two sources: namespaced by source", () => {
  it.each([
    ["two producers", { producer: "web" }, { producer: "shop" }],
    ["a producer and nobody", { producer: "web" }, { producer: null }],
    ["a name that holds another's separator", { producer: "a", id: "b\0c" }, { producer: "a\0b", id: "c" }],
  ])("%s: two effects", async (_what, one, other) => {
    const w = world();
    const a = await w.process();
    let ran = 0;
    await a
      .consumer()
      .on(orders, () => void ran++)
      .start();
    a.receiver.deliver({ id: "m1", ...one }, { id: "m1", ...other });
    await turns();
    expect([ran, w.inbox.marks.length, a.letters.length]).toEqual([2, 2, 0]);
  });
});

describe("ids equal after Unicode normalisation: bytes compared", () => {
  it("three messages in flight, three rows, three effects", async () => {
    const r = rig();
    for (const id of ALIKE) void r.publisher.publish(plain, 1, { id });
    await r.clock.advance(0);
    expect(r.copies.map((c) => c.message.id)).toEqual(ALIKE);
    expect(r.count("joined")).toBe(0);

    const w = world();
    const a = await w.process();
    let ran = 0;
    await a
      .consumer()
      .on(orders, () => void ran++)
      .start();
    a.receiver.deliver(...ALIKE.map((id) => ({ id, body: asJson(1) })));
    await turns();
    expect([ran, w.inbox.marks.length]).toEqual([3, 3]);
  });

  it("keys too: each has a line of its own", async () => {
    const r = rig();
    const keyed = topic<string>("keyed", { key: (k) => k, ordered: true });
    for (const key of ALIKE) void r.publisher.publish(keyed, key);
    void r.publisher.publish(keyed, ALIKE[0]!);
    await r.clock.advance(0);
    expect(r.copies.map((c) => c.message.key)).toEqual(ALIKE);
  });
});

describe('key null / 10 MB; routing key over 255 bytes; `expiration: "abc"`: documented / rejected before the channel closes', () => {
  it.each<[string, unknown, string]>([
    ["null", null, "key must be a string; got null"],
    ["a number", 7, "key must be a string; got number"],
    ["10 MB", "k".repeat(10_000_000), "key must have 1 to 255 bytes of UTF-8; got 10000000"],
    ["256 bytes", "k".repeat(256), "key must have 1 to 255 bytes of UTF-8; got 256"],
    ["empty", "", "key must have 1 to 255 bytes of UTF-8; got 0"],
  ])("key %s", async (_what, key, says) => {
    await refuses({ key: key as string }, says);
    const error = await refused(1, {}, topic("keyed", { key: () => key as string }));
    expect(error.message).toContain(says);
  });

  it("a key function that throws", async () => {
    const keyed = topic("keyed", {
      key: () => {
        throw new Error("no customer");
      },
    });
    expect((await refused({}, { id: "o-1" }, keyed)).message).toBe(
      "[bad-message] the key function of topic keyed threw for o-1: no customer",
    );
  });

  it.each(["", "x".repeat(256), 5, null])("correlation id %j", async (correlationId) => {
    await refuses({ correlationId: correlationId as string }, "correlationId must");
  });

  it("of a received message any key is taken as it is", async () => {
    const b = bench();
    const seen: (string | null)[] = [];
    await b
      .consumer()
      .on(topic("orders", { key: () => "", ordered: true }), (_body, { key }) => void seen.push(key))
      .start();
    const keys = [null, "", "k".repeat(10_000_000), "__proto__"];
    b.receiver.deliver(...keys.map((key, i) => ({ id: `m${i}`, key })));
    expect(seen).toEqual(keys);
    expect(b.receiver.settled).toHaveLength(0);
    await turns();
    expect(b.receiver.settled).toHaveLength(4);
  });
});
