import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { fullJitter } from "../src/backoff.ts";
import { LONGEST_TIMER, milliseconds } from "../src/duration.ts";
import { choice, duration, flag, integer, resolveOptions, text, utf8Length, value } from "../src/policy.ts";

const refused = (because?: RegExp): unknown =>
  expect.objectContaining({
    code: "bad-config",
    message: because === undefined ? expect.any(String) : expect.stringMatching(because),
  });

describe("a duration", () => {
  test.each([
    [250, 250],
    ["250ms", 250],
    ["10s", 10_000],
    ["5m", 300_000],
    ["2h", 7_200_000],
    ["7d", 604_800_000],
    ["1.5s", 1_500],
    ["0.5m", 30_000],
  ] as const)("%j is %d ms", (given, ms) => {
    expect(milliseconds("x", given)).toBe(ms);
  });

  test.each([
    0,
    -1,
    Number.NaN,
    Number.POSITIVE_INFINITY,
    2 ** 31,
    "",
    "10",
    "s",
    "5 parsecs",
    "-5s",
    "1e3ms",
    "10 s",
    "10S",
    "25d",
    "0ms",
    null,
    {},
    [5],
    true,
  ])("%j is refused, naming the option", (given) => {
    expect(() => milliseconds("confirmTimeout", given as never)).toThrow(refused(/confirmTimeout/));
  });

  test("of a type that JSON cannot show is refused as any other", () => {
    const cyclic: { self?: unknown } = {};
    cyclic.self = cyclic;
    for (const given of [5n, cyclic, Symbol("x")]) expect(() => milliseconds("x", given as never)).toThrow(refused());
  });

  test("lies within the bounds given; the longest is what Node's timers can hold", () => {
    expect(milliseconds("x", 0, 0)).toBe(0);
    expect(milliseconds("x", LONGEST_TIMER)).toBe(2 ** 31 - 1);
    expect(() => milliseconds("x", "11s", 1, 10_000)).toThrow(refused(/10000/));
  });
});

describe("options", () => {
  const bounds = {
    window: integer(2_000, 1, 10_000),
    confirmTimeout: duration("15s", 100),
    mode: choice("fast", "slow"),
    on: flag(true),
    name: text("x", 5),
    hook: value(null, "a function", (v): v is () => void => typeof v === "function"),
  };

  test("that are not given, or undefined, have their defaults; the result is frozen", () => {
    const resolved = resolveOptions("open", { window: undefined }, bounds);
    expect(resolved).toEqual({ window: 2_000, confirmTimeout: 15_000, mode: "fast", on: true, name: "x", hook: null });
    expect(Object.isFrozen(resolved)).toBe(true);
    expect(resolveOptions("open", undefined, bounds)).toEqual(resolved);
    expect(resolveOptions("open", Object.assign(Object.create(null), { window: 7 }), bounds).window).toBe(7);
  });

  test("given are read", () => {
    const hook = (): void => {};
    expect(
      resolveOptions("open", { window: 1, confirmTimeout: "1s", mode: "slow", on: false, name: "äöb", hook }, bounds),
    ).toEqual({ window: 1, confirmTimeout: 1_000, mode: "slow", on: false, name: "äöb", hook });
  });

  test.each([
    ["windw", /"windw"; did you mean "window"/],
    ["Window", /did you mean "window"/],
    ["confirm_timeout", /did you mean "confirmTimeout"/],
    ["__proto__", /no option "__proto__"/],
    ["constructor", /no option "constructor"/],
  ])("unknown by the name of %s are refused, with the nearest known one", (key, message) => {
    const given = JSON.parse(`{${JSON.stringify(key)}: 1}`) as object;
    expect(() => resolveOptions("open", given, bounds)).toThrow(refused(message));
    expect(({} as Record<string, unknown>)["polluted"]).toBe(undefined);
  });

  test.each([[[]], ["text"], [5], [() => {}], [new Map()], [Object.create({ window: 5 })]])(
    "that are no plain object are refused: %o",
    (given) => {
      expect(() => resolveOptions("open", given as object, bounds)).toThrow(refused(/plain object/));
    },
  );

  test.each([
    [{ window: 0 }],
    [{ window: 1e9 }],
    [{ window: 1.5 }],
    [{ window: Number.NaN }],
    [{ window: "5" }],
    [{ window: null }],
    [{ mode: "Fast" }],
    [{ on: 1 }],
    [{ name: "" }],
    [{ name: "a\0b" }],
    [{ name: "äöü" }],
    [{ name: 5 }],
    [{ hook: {} }],
    [{ confirmTimeout: 99 }],
  ])("out of bounds are refused by name: %j", (given) => {
    expect(() => resolveOptions("open", given, bounds)).toThrow(refused(new RegExp(`open: ${Object.keys(given)[0]}`)));
  });

  test("shows nothing in its refusal that may be a secret", () => {
    const canary = "amqp://user:hunter2@host";
    for (const given of [{ window: canary }, { mode: canary }, { hook: { password: canary } }, { hook: [canary] }]) {
      expect(() => resolveOptions("open", given, bounds)).toThrow(
        expect.objectContaining({ message: expect.not.stringContaining("hunter2") }),
      );
    }
    expect(() => milliseconds("confirmTimeout", canary as never)).toThrow(
      expect.objectContaining({ message: expect.not.stringContaining("hunter2") }),
    );
  });
});

test("utf8Length is what an encoder gives, lone surrogates included", () => {
  const encoder = new TextEncoder();
  fc.assert(
    fc.property(
      fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((u) => String.fromCharCode(u)) }),
      (s) => utf8Length(s) === encoder.encode(s).length,
    ),
  );
  fc.assert(fc.property(fc.string({ unit: "grapheme" }), (s) => utf8Length(s) === encoder.encode(s).length));
  expect([utf8Length("😀"), utf8Length("\ud83d"), utf8Length("\ude00\ud83d"), utf8Length("")]).toEqual([4, 3, 6, 0]);
});

test("full jitter is uniform below a ceiling that doubles from min up to max, and never overflows", () => {
  const at = (unit: number, attempt: number): number =>
    fullJitter({ min: 100, max: 1_000 }, attempt, { unit: () => unit, bytes: () => new Uint8Array() });
  expect([1, 2, 3, 4, 5, 1e9].map((attempt) => at(0.5, attempt))).toEqual([50, 100, 200, 400, 500, 500]);
  expect(at(0, 3)).toBe(0);
});
