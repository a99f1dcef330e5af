import { describe, expect, it } from "vitest";
import { TallyError } from "../../src/error.ts";
import { found, type HalfInput, type HalfState, type HalfStep, RUN, step } from "../../src/half/machine.ts";
import type { HalfPolicy } from "../../src/half/options.ts";
import type { StoredHalf } from "../../src/half/store.ts";

const policy: HalfPolicy = {
  lease: 15_000,
  checkMin: 1_000,
  checkMax: 60_000,
  maxChecks: 3,
  maxAge: 3_600_000,
  keep: "outbox",
  brokerWithin: 10_000,
};
const kept: HalfPolicy = { ...policy, keep: "broker" };
const half = { place: 7, fence: 2, checks: 1, preparedAt: 0, state: "undecided" } as StoredHalf;
const held = { place: 7, fence: 2, checks: 1, preparedAt: 0, atBroker: false };
const atBroker = { ...held, atBroker: true };
const broken = new TallyError("store", "no");
const closed = new TallyError("closed", "closed");
const thrown = { error: new Error("declined") };

const INPUTS: readonly HalfInput[] = [
  { type: "prepared", answer: { is: "prepared", place: 7, fence: 1 }, wall: 5 },
  { type: "offered", refused: null },
  { type: "worked", decision: "commit" },
  { type: "threw", error: thrown.error },
  { type: "checked", decision: "rollback", wall: 5 },
  { type: "decided", recorded: { decision: "commit", released: true } },
  { type: "failed", error: broken },
  { type: "timer" },
  { type: "released" },
  { type: "proved" },
  { type: "unproved" },
  { type: "unreleasable", reason: "another body" },
  { type: "close", error: closed },
];
const STATES: readonly HalfState[] = [
  { is: "preparing" },
  { is: "busy" },
  { is: "working", held },
  { is: "checking", held },
  { is: "deciding", held, made: { decision: "commit", by: "work", thrown: null }, tries: 1 },
  { is: "releasing", held },
  { is: "offering", held },
  { is: "settling", held: atBroker },
  { is: "ended" },
];

function shown([state, effects]: HalfStep): string {
  return [state.is, ...effects.map((effect) => effect.do)].join(" ");
}

describe("the life of a half message", () => {
  it("is this table: an input that does not apply changes nothing", () => {
    const table = STATES.map((state) =>
      Object.fromEntries(
        INPUTS.flatMap((input) => {
          const to = step(state, input, policy);
          return to[0] === state && to[1].length === 0 ? [] : [[input.type, shown(to)]];
        }),
      ),
    );
    expect(Object.fromEntries(STATES.map(({ is }, i) => [is, table[i]]))).toEqual({
      preparing: { prepared: "working hold work", failed: "ended reject", close: "ended reject" },
      busy: { timer: "preparing prepare", close: "ended reject" },
      working: { worked: "deciding decide", threw: "deciding decide", close: "ended reject" },
      checking: { checked: "deciding decide", close: "ended reject" },
      deciding: {
        decided: "ended tell answer",
        failed: "deciding wait",
        timer: "deciding decide",
        close: "ended reject",
      },
      releasing: { released: "ended", unreleasable: "ended park", close: "ended reject" },
      offering: { offered: "working work", close: "ended withdraw reject" },
      settling: { proved: "ended settled", unproved: "releasing hold release", close: "ended reject" },
      ended: {},
    });
  });

  it("begins with a prepare, or with what was found", () => {
    expect(shown(RUN)).toBe("preparing prepare");
    expect(shown(found(half, policy))).toBe("checking hold check");
    expect(shown(found({ ...half, state: "committed" }, policy))).toBe("releasing hold release");
    expect(shown(found({ ...half, state: "committed" }, kept))).toBe("settling hold settle");
  });

  it("where the broker keeps them, it is offered before the work, and settled after the decision", () => {
    const prepared: HalfInput = { type: "prepared", answer: { is: "prepared", place: 7, fence: 1 }, wall: 5 };
    expect(shown(step({ is: "preparing" }, prepared, kept))).toBe("offering hold offer");
    const refused: HalfInput = { type: "offered", refused: broken };
    expect(shown(step({ is: "offering", held }, refused, kept))).toBe("ended withdraw reject");
    expect(shown(step({ is: "offering", held }, refused, { ...kept, keep: "either" }))).toBe("working keep work");
    const to = (decision: "commit" | "rollback", released: boolean): string => {
      const made = { decision, by: "work", thrown: null } as const;
      const decided: HalfInput = { type: "decided", recorded: { decision, released } };
      return shown(step({ is: "deciding", held: atBroker, made, tries: 1 }, decided, kept));
    };
    expect(to("commit", false)).toBe("settling tell answer inform hold settle");
    expect(to("rollback", false)).toBe("ended tell answer inform");
  });

  it("each answer to the prepare leads somewhere, and only a new one to the work", () => {
    const to = (answer: Extract<HalfInput, { type: "prepared" }>["answer"]): string =>
      shown(step({ is: "preparing" }, { type: "prepared", answer, wall: 0 }, policy));
    expect(to({ is: "undecided", half })).toBe("checking hold check");
    expect(to({ is: "busy", leftMs: 3 })).toBe("busy wait");
    for (const is of ["committed", "rolledBack"] as const) expect(to({ is })).toBe("ended answer");
    for (const is of ["conflict", "full"] as const) expect(to({ is })).toBe("ended reject");
  });

  it("a decision that is not the recorded one is told to the caller, with what becomes of the message", () => {
    const deciding = (
      decision: "commit" | "rollback",
      recorded: "commit" | "rollback" | null,
      released = true,
    ): unknown => {
      const made = { decision, by: "work", thrown: null } as const;
      const input = { type: "decided", recorded: recorded === null ? null : { decision: recorded, released } } as const;
      const [state, effects] = step({ is: "deciding", held, made, tries: 1 }, input, policy);
      const reject = effects.find((effect) => effect.do === "reject");
      return [
        state.is,
        reject === undefined ? null : [(reject.error as TallyError).code, (reject.error as TallyError).mayArrive],
      ];
    };
    expect(deciding("commit", "commit")).toEqual(["ended", null]);
    expect(deciding("commit", "commit", false)).toEqual(["releasing", null]);
    expect(deciding("commit", "rollback")).toEqual(["ended", ["fenced", false]]);
    expect(deciding("commit", null)).toEqual(["ended", ["fenced", false]]);
    expect(deciding("rollback", "commit")).toEqual(["ended", ["fenced", true]]);
    expect(deciding("rollback", "commit", false)).toEqual(["releasing", ["fenced", true]]);
    expect(deciding("rollback", "rollback")).toEqual(["ended", null]);
  });

  it("unknown is asked again, later each time, until it is both often and old enough to be parked", () => {
    const after = (checks: number, wall: number): unknown => {
      const input = { type: "checked", decision: "unknown", wall } as const;
      const [state, effects] = step({ is: "checking", held: { ...held, checks } }, input, policy);
      const [effect] = effects;
      return [state.is, effect?.do === "defer" ? effect.ms : effect?.do];
    };
    expect([1, 2, 3, 4, 20].map((checks) => after(checks, 1_000))).toEqual(
      [1_000, 2_000, 4_000, 8_000, 60_000].map((ms) => ["ended", ms]),
    );
    expect(after(2, policy.maxAge)).toEqual(["ended", 2_000]);
    expect(after(3, policy.maxAge - 1)).toEqual(["ended", 4_000]);
    expect(after(3, policy.maxAge)).toEqual(["ended", "park"]);
  });

  it("a store that fails is tried again, and in the end the caller is told that nobody knows", () => {
    let state: HalfState = STATES[4] as HalfState;
    const waits: number[] = [];
    for (let tries = 0; state.is !== "ended"; tries++) {
      const [next, effects] = step(state, { type: "failed", error: broken }, policy);
      for (const effect of effects) if (effect.do === "wait") waits.push(effect.ms);
      if (next.is === "ended")
        expect(
          effects.map((effect) =>
            effect.do === "reject"
              ? [(effect.error as TallyError).code, (effect.error as TallyError).mayArrive]
              : effect.do,
          ),
        ).toEqual(["defer", ["store", true]]);
      state = next;
      expect(tries).toBeLessThan(20);
    }
    expect(waits).toEqual([50, 100, 200, 400, 800, 1_600, 3_200]);
  });
});
