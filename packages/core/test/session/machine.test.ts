import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { TallyError } from "../../src/error.ts";
import { type SessionEffect, type SessionInput, type SessionState, START, step } from "../../src/session/machine.ts";

const backoff = { min: 100, max: 1_000 };
const error = new TallyError("session-lost", "x", { retryable: true });
const unit = 0.5;

const connecting: SessionState = { is: "connecting", epoch: 3, tries: 2 };
const waiting: SessionState = { is: "waiting", epoch: 3, tries: 2 };
const open: SessionState = { is: "open", epoch: 3 };
const closed: SessionState = { is: "closed", epoch: 3 };

const opened: SessionInput = { type: "opened", epoch: 3 };
const failed: SessionInput = { type: "failed", epoch: 3, error, unit };
const lost: SessionInput = { type: "lost", epoch: 3, error, unit };
const timer: SessionInput = { type: "timer" };
const replace: SessionInput = { type: "replace" };
const close: SessionInput = { type: "close" };
const discard: SessionEffect = { do: "discard", epoch: 3 };

const nothing = (state: SessionState): readonly [SessionState, SessionEffect[]] => [state, []];
const next = (tries: number): readonly [SessionState, SessionEffect[]] => [
  { is: "connecting", epoch: 4, tries },
  [{ do: "connect", epoch: 4, tries }],
];
const end: readonly [SessionState, SessionEffect[]] = [closed, [{ do: "end" }]];

/** The whole table: each state with each input. */
const TABLE: readonly (readonly [SessionState, SessionInput, readonly [SessionState, readonly SessionEffect[]]])[] = [
  [connecting, opened, [open, [{ do: "use", epoch: 3, tries: 2 }]]],
  [connecting, failed, [waiting, [{ do: "wait", ms: 200, tries: 3, error }]]],
  [connecting, lost, nothing(connecting)], // `failed` follows
  [connecting, timer, nothing(connecting)],
  [connecting, replace, nothing(connecting)],
  [connecting, close, end],
  [waiting, opened, [waiting, [discard]]],
  [waiting, failed, nothing(waiting)],
  [waiting, lost, nothing(waiting)],
  [waiting, timer, next(3)],
  [waiting, replace, nothing(waiting)],
  [waiting, close, end],
  [open, opened, [open, [discard]]],
  [open, failed, nothing(open)],
  [
    open,
    lost,
    [
      { is: "waiting", epoch: 3, tries: 0 },
      [
        { do: "drop", epoch: 3, error },
        { do: "wait", ms: 50, tries: 1, error },
      ],
    ],
  ],
  [open, timer, nothing(open)],
  [open, replace, next(1)],
  [open, close, end],
  [closed, opened, [closed, [discard]]],
  [closed, failed, nothing(closed)],
  [closed, lost, nothing(closed)],
  [closed, timer, nothing(closed)],
  [closed, replace, nothing(closed)],
  [closed, close, nothing(closed)],
];

describe("the table of a session's life", () => {
  test("starts with a try", () => {
    expect(START).toEqual([{ is: "connecting", epoch: 1, tries: 1 }, [{ do: "connect", epoch: 1, tries: 1 }]]);
  });

  test("has a row for each state and input", () => {
    expect(new Set(TABLE.map(([state, input]) => `${state.is} ${input.type}`)).size).toBe(4 * 6);
  });

  test.each(TABLE.map(([state, input, becomes]) => [`${state.is} + ${input.type}`, state, input, becomes] as const))(
    "%s",
    (_name, state, input, becomes) => {
      expect(step(state, input, backoff)).toEqual(becomes);
    },
  );

  test.each([opened, failed, lost])("$type of another epoch changes no state", (input) => {
    for (const state of [connecting, waiting, open, closed]) {
      const [after, effects] = step(state, { ...input, epoch: 2 } as SessionInput, backoff);
      expect(after).toEqual(state);
      expect(effects).toEqual(input.type === "opened" ? [{ do: "discard", epoch: 2 }] : []);
    }
  });
});

describe("the wait between tries", () => {
  test("is full jitter: uniform below a ceiling that doubles from min up to max, and at least 1 ms", () => {
    const wait = (tries: number, u: number): number => {
      const [, [effect]] = step(
        { is: "connecting", epoch: 1, tries },
        { type: "failed", epoch: 1, error, unit: u },
        backoff,
      );
      return effect?.do === "wait" ? effect.ms : Number.NaN;
    };
    expect([1, 2, 3, 4, 5, 5_000].map((tries) => wait(tries, 0.5))).toEqual([100, 200, 400, 500, 500, 500]);
    expect(wait(3, 0)).toBe(1);
    expect(wait(3, 0.999)).toBeCloseTo(799.2);
  });
});

test("over any inputs: epochs never fall, at most one try is under way, and after close there is only discarding", () => {
  const input = fc.oneof(
    fc.record({
      type: fc.constantFrom("opened" as const, "failed" as const, "lost" as const),
      epoch: fc.integer({ min: 1, max: 6 }),
      error: fc.constant(error),
      unit: fc.double({ min: 0, max: 0.99, noNaN: true }),
    }),
    fc.record({ type: fc.constantFrom("timer" as const, "replace" as const, "close" as const) }),
  );
  fc.assert(
    fc.property(fc.array(input, { maxLength: 40 }), (inputs) => {
      let [state, effects]: readonly [SessionState, readonly SessionEffect[]] = START;
      let used = 0;
      for (const one of inputs) {
        const before = state;
        [state, effects] = step(state, one as SessionInput, backoff);
        expect(state.epoch).toBeGreaterThanOrEqual(before.epoch);
        for (const effect of effects) {
          if (before.is === "closed") expect(effect.do).toBe("discard");
          if (effect.do === "connect") expect(effect.epoch).toBe(before.epoch + 1);
          if (effect.do === "use") expect(effect.epoch).toBeGreaterThan(used);
          if (effect.do === "use") used = effect.epoch;
        }
      }
    }),
  );
});
