// What a message is made of: codecs, schemas; and how errors and events show it.
import { channel } from "node:diagnostics_channel";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { bytes, json } from "../src/codec.ts";
import { describe as show, TallyError } from "../src/error.ts";
import { createEvents, EVENT_CHANNEL, type TallyEvent } from "../src/events.ts";
import { parseSeq } from "../src/message.ts";
import { nodePlatform } from "../src/platform/node.ts";
import { describeIssues } from "../src/schema.ts";

const utf8 = (s: string): Uint8Array => new TextEncoder().encode(s);
const code = (c: string): unknown => expect.objectContaining({ code: c });

describe("json", () => {
  test("gives back what went in", () => {
    fc.assert(
      fc.property(fc.jsonValue({ noUnicodeString: false } as never), (body) => {
        // Left out on the way in, on purpose: the test below has it.
        fc.pre(!JSON.stringify(body).includes("__proto__"));
        expect(json.decode(json.encode(body))).toEqual(JSON.parse(JSON.stringify(body)));
      }),
    );
    expect(json.decode(json.encode(null))).toBe(null);
  });

  test("is a snapshot: bytes that nobody else holds", () => {
    const body = { n: 1 };
    const [one, two] = [json.encode(body), json.encode(body)];
    body.n = 2;
    one.fill(0);
    expect(json.decode(two)).toEqual({ n: 1 });
  });

  test.each([
    ["nothing", ""],
    ["half an object", '{"secret":"canary"'],
    ["text", "canary"],
    ["two values", "1 2"],
  ])("does not read %s, and does not quote it", (_what, text) => {
    expect(() => json.decode(utf8(text))).toThrow(code("decode"));
    try {
      json.decode(utf8(text));
    } catch (error) {
      expect(`${(error as Error).stack} ${String((error as Error).cause)}`).not.toContain("canary");
    }
  });

  test("does not read what is not UTF-8, nor what is nested beyond the stack", () => {
    expect(() => json.decode(Uint8Array.of(0x22, 0xff, 0x22))).toThrow(code("decode"));
    const deepText = `{"__proto__":0,"a":${"[".repeat(200_000)}${"]".repeat(200_000)}}`;
    expect(() => json.decode(utf8(deepText))).toThrow(code("decode"));
  });
});

describe("bytes", () => {
  test("is a copy of the bytes, an empty one too, and refuses anything else", () => {
    const body = Uint8Array.of(1, 2, 3);
    const sent = bytes.encode(body);
    body[0] = 9;
    expect([...sent]).toEqual([1, 2, 3]);
    expect(bytes.encode(new Uint8Array())).toHaveLength(0);
    expect([...bytes.encode(Buffer.from("ab"))]).toEqual([97, 98]);
    for (const wrong of [null, "text", [1], new ArrayBuffer(2)])
      expect(() => bytes.encode(wrong as never)).toThrow(code("bad-message"));
  });
});

test("issues of a schema are shown by path, the first five", () => {
  expect(describeIssues([{ message: "bad" }, { message: "short", path: ["a", { key: 0 }, Symbol("s")] }])).toBe(
    "bad; a.0.Symbol(s): short",
  );
  expect(describeIssues(Array.from({ length: 7 }, () => ({ message: "x" })))).toBe("x; x; x; x; x; and 2 more");
});

describe("received envelope fields", () => {
  test.each([
    ["run/7", "run", 7],
    ["a/b/1", "a/b", 1],
    ["run/0", null, null],
    ["run/-1", null, null],
    ["run/1.5", null, null],
    ["/5", null, null],
    ["run", null, null],
    [`run/${2 ** 53}`, null, null],
    [5, null, null],
    [undefined, null, null],
  ])("seq %j", (given, run, seq) => {
    expect(parseSeq(given)).toEqual({ run, seq });
  });
});

describe("a TallyError", () => {
  test("says its code first, and is definite and final unless told otherwise", () => {
    const error = new TallyError("unroutable", "nowhere to go");
    expect(error.message).toBe("[unroutable] nowhere to go");
    expect(error).toMatchObject({
      name: "TallyError",
      code: "unroutable",
      id: null,
      mayArrive: false,
      retryable: false,
    });
    expect("cause" in error).toBe(false);
    const cause = new Error("x");
    expect(new TallyError("in-doubt", "x", { id: "m", mayArrive: true, retryable: true, cause })).toMatchObject({
      id: "m",
      mayArrive: true,
      retryable: true,
      cause,
    });
  });

  test("is recognised by its brand, also when another copy of core made it", async () => {
    expect(TallyError.is(new TallyError("closed", "x"))).toBe(true);
    const copy = Object.defineProperty(new Error("x"), Symbol.for("tally.error"), { value: true });
    expect(TallyError.is(copy)).toBe(true);
    for (const other of [null, undefined, "x", new Error("[closed] x"), { code: "closed" }])
      expect(TallyError.is(other)).toBe(false);
    expect(Object.keys(new TallyError("closed", "x"))).not.toContain(String(Symbol.for("tally.error")));
  });

  test.each<[unknown, string]>([
    [new Error("m"), "m"],
    ["s", "s"],
    [undefined, "undefined"],
    [Symbol("x"), "Symbol(x)"],
    [Object.create(null), "a value that cannot be shown"],
    [
      {
        toString() {
          throw new Error("no");
        },
      },
      "a value that cannot be shown",
    ],
  ])("whatever is thrown can be described", (thrown, text) => {
    expect(show(thrown)).toBe(text);
  });
});

describe("events", () => {
  test("are counted, stamped, frozen, and reach each listener until it is taken off, whatever the others do", () => {
    const published: TallyEvent[] = [];
    const events = createEvents(
      () => 42,
      (event) => void published.push(event),
    );
    const seen: string[] = [];
    events.on(() => {
      throw new Error("a listener's own trouble");
    });
    const off = events.on(({ type, at }) => void seen.push(`${type}@${at}`));
    events.emit({ type: "unblocked", what: "x" });
    off();
    events.emit({ type: "unblocked", what: "x" });
    expect(seen).toEqual(["unblocked@42"]);
    expect(published).toHaveLength(2);
    expect(Object.isFrozen(published[0])).toBe(true);
    expect(events.counters()).toEqual({ unblocked: 2 });
    (events.counters() as { unblocked?: number }).unblocked = 9;
    expect(events.counters()).toEqual({ unblocked: 2 });
  });

  test("go out on the diagnostics channel while somebody listens there", () => {
    const seen: unknown[] = [];
    const listener = (event: unknown): void => void seen.push(event);
    const { diagnose } = nodePlatform();
    const event: TallyEvent = { at: 1, type: "unblocked", what: "x" };
    diagnose(event);
    channel(EVENT_CHANNEL).subscribe(listener);
    diagnose(event);
    channel(EVENT_CHANNEL).unsubscribe(listener);
    diagnose(event);
    expect(seen).toEqual([event]);
  });
});

describe("node's platform", () => {
  test("gives random bytes of any length, no two alike, that nobody else holds", () => {
    const { random } = nodePlatform();
    const given = Array.from({ length: 600 }, () => random.bytes(16));
    const texts = given.map((b) => Buffer.from(b).toString("hex"));
    expect(new Set(texts).size).toBe(600);
    for (const bytes of given) bytes.fill(0);
    expect(random.bytes(16).some((byte) => byte !== 0)).toBe(true);
    expect(random.bytes(5_000)).toHaveLength(5_000);
  });
});
