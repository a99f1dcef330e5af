import { describe, expect, it } from "vitest";
import {
  DRAINING,
  ENDED,
  EVENTS,
  HELD,
  NEVER,
  next,
  STATES,
  type State,
  TRANSITIONS,
} from "../../src/publish/transitions.ts";

const all = STATES.map((_, state) => state as State);

describe("the table of a message's states", () => {
  it("has a cell for each event in each state, and throws where that cannot happen", () => {
    for (const event of EVENTS) {
      expect(TRANSITIONS[event], event).toHaveLength(STATES.length);
      for (const state of all) {
        const to = TRANSITIONS[event][state];
        if (to === NEVER) expect(() => next(state, event)).toThrow(`${STATES[state]} cannot meet "${event}"`);
        else expect(next(state, event)).toBe(to);
      }
    }
  });

  it("lets nothing out of ENDED", () => {
    for (const event of EVENTS) expect([ENDED, NEVER]).toContain(TRANSITIONS[event][ENDED]);
  });

  it("reaches every state from HELD, and ENDED from every state", () => {
    const reach = (from: State): Set<number> => {
      const seen = new Set<number>([from]);
      for (const state of seen)
        for (const event of EVENTS)
          if (TRANSITIONS[event][state] !== NEVER) seen.add(TRANSITIONS[event][state] ?? NEVER);
      return seen;
    };
    expect([...reach(HELD)].toSorted()).toEqual(all);
    for (const state of all) expect(reach(state).has(ENDED), STATES[state]).toBe(true);
  });

  it("ends on any accepted copy, whatever the state, once a copy has left", () => {
    for (const state of all.filter((s) => s !== HELD)) expect(next(state, "accepted")).toBe(ENDED);
  });

  it("sends no copy of a message that drains", () => {
    expect(TRANSITIONS.sent[DRAINING]).toBe(NEVER);
    expect(TRANSITIONS.due[DRAINING]).toBe(NEVER);
  });
});
