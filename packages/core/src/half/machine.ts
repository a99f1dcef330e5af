import { TallyError } from "../error.ts";
import type { Decision } from "../spi.ts";
import type { HalfPolicy } from "./options.ts";
import type { Decided, Prepared, StoredHalf } from "./store.ts";

/** Who has an undecided one: the caller of `run()`, or whoever found it with nobody at it. */
export interface Held {
  readonly place: number;
  readonly fence: number;
  readonly checks: number;
  /** Wall-clock milliseconds. */
  readonly preparedAt: number;
}

/**
 * The life of one half message in one process, as a value.
 *
 * - `preparing`: the store has been asked to keep it. Killed here: it is there, undecided, or it is not; no work has begun.
 * - `busy`: another process is at it, or was and is dead: asked again when that lease is over.
 * - `working`: it is durable and ours, and its work runs. The lease is renewed, so that nobody checks meanwhile. Killed here:
 *   nobody knows whether the work was done, and after the lease somebody checks.
 * - `checking`: nobody was at it, and `check` has been asked.
 * - `deciding`: the decision is being written, and written again while the store fails. The first one in the store stays. Killed
 *   here: it is recorded, or somebody checks.
 * - `releasing`: `commit` is recorded, and its row is on its way to its place behind those of its key. Killed here: whoever
 *   finds it committed releases it.
 * - `ended`: nothing of it is left to do here. If it is undecided, its lease is its back-off.
 */
export type HalfState =
  | { readonly is: "preparing" | "busy" }
  | { readonly is: "working" | "checking" | "releasing"; readonly held: Held }
  | { readonly is: "deciding"; readonly held: Held; readonly made: Made; readonly tries: number }
  | { readonly is: "ended" };

/** A decision, and what it came from. */
export interface Made {
  readonly decision: "commit" | "rollback";
  readonly by: "work" | "check";
  /** What the work threw. */
  readonly thrown: { readonly error: unknown } | null;
}

export type HalfInput =
  | { readonly type: "prepared"; readonly answer: Prepared; readonly wall: number }
  | { readonly type: "worked"; readonly decision: Decision }
  | { readonly type: "threw"; readonly error: unknown }
  | { readonly type: "checked"; readonly decision: Decision; readonly wall: number }
  | { readonly type: "decided"; readonly recorded: Decided | null }
  /** The store did not answer as it should. */
  | { readonly type: "failed"; readonly error: TallyError }
  | { readonly type: "timer" }
  | { readonly type: "released" }
  /** Another row has its id: a person must look. */
  | { readonly type: "unreleasable"; readonly reason: string }
  | { readonly type: "close"; readonly error: TallyError };

export type HalfEffect =
  | { readonly do: "prepare" }
  | { readonly do: "wait"; readonly ms: number }
  /** Renews the lease from now on. */
  | { readonly do: "hold"; readonly held: Held }
  | { readonly do: "work" }
  | { readonly do: "check"; readonly held: Held }
  | { readonly do: "decide"; readonly held: Held; readonly decision: "commit" | "rollback" }
  | { readonly do: "tell"; readonly made: Made }
  | { readonly do: "release"; readonly held: Held }
  /** Nobody is to look at it for so long. */
  | { readonly do: "defer"; readonly held: Held; readonly ms: number }
  | { readonly do: "park"; readonly held: Held; readonly reason: string }
  | { readonly do: "answer"; readonly decision: Decision }
  | { readonly do: "reject"; readonly error: unknown };

export type HalfStep = readonly [HalfState, readonly HalfEffect[]];

/** Tries to record a decision, before its caller is told that nobody knows whether it is. */
const MOST_TRIES = 8;
const FIRST_WAIT_MS = 50;
const MOST_WAIT_MS = 5_000;

const ENDED: HalfState = { is: "ended" };

/** `run()` was called. */
export const RUN: HalfStep = [{ is: "preparing" }, [{ do: "prepare" }]];

/** One was found with nobody at it, and is held. */
export function found(half: StoredHalf): HalfStep {
  const held = heldOf(half);
  return half.state === "undecided" ? check(held) : release(held, []);
}

/** One step. An input that no longer applies changes nothing. */
export function step(state: HalfState, input: HalfInput, policy: HalfPolicy): HalfStep {
  switch (input.type) {
    case "prepared":
      return state.is === "preparing" ? prepared(input.answer, input.wall) : [state, []];
    case "worked":
      if (state.is !== "working") return [state, []];
      if (input.decision !== "unknown")
        return decide(state.held, { decision: input.decision, by: "work", thrown: null });
      return [ENDED, [defer(state.held, policy), { do: "answer", decision: "unknown" }]];
    case "threw":
      if (state.is !== "working") return [state, []];
      return decide(state.held, { decision: "rollback", by: "work", thrown: { error: input.error } });
    case "checked":
      if (state.is !== "checking") return [state, []];
      if (input.decision !== "unknown")
        return decide(state.held, { decision: input.decision, by: "check", thrown: null });
      return unknown(state.held, input.wall, policy);
    case "decided":
      return state.is === "deciding" ? decided(state.held, state.made, input.recorded) : [state, []];
    case "failed":
      return failed(state, input.error, policy);
    case "timer":
      if (state.is === "busy") return RUN;
      if (state.is !== "deciding") return [state, []];
      return [state, [{ do: "decide", held: state.held, decision: state.made.decision }]];
    case "released":
      return state.is === "releasing" ? [ENDED, []] : [state, []];
    case "unreleasable":
      if (state.is !== "releasing") return [state, []];
      return [ENDED, [{ do: "park", held: state.held, reason: input.reason }]];
    case "close":
      return state.is === "ended" ? [state, []] : [ENDED, [{ do: "reject", error: input.error }]];
  }
}

function prepared(answer: Prepared, wall: number): HalfStep {
  switch (answer.is) {
    case "prepared": {
      const { place, fence } = answer;
      const held: Held = { place, fence, checks: 0, preparedAt: wall };
      return [{ is: "working", held }, [{ do: "hold", held }, { do: "work" }]];
    }
    case "undecided":
      return check(heldOf(answer.half));
    case "busy":
      return [{ is: "busy" }, [{ do: "wait", ms: Math.max(1, Math.ceil(answer.leftMs)) }]];
    case "committed":
      return [ENDED, [{ do: "answer", decision: "commit" }]];
    case "rolledBack":
      return [ENDED, [{ do: "answer", decision: "rollback" }]];
    case "conflict":
      return [
        ENDED,
        [
          {
            do: "reject",
            error: new TallyError("conflict", "its id is a half message with another body, key or name"),
          },
        ],
      ];
    case "full":
      return [
        ENDED,
        [{ do: "reject", error: new TallyError("store-full", "the outbox is at its bound", { retryable: true }) }],
      ];
  }
}

function heldOf({ place, fence, checks, preparedAt }: StoredHalf): Held {
  return { place, fence, checks, preparedAt };
}

function check(held: Held): HalfStep {
  return [
    { is: "checking", held },
    [
      { do: "hold", held },
      { do: "check", held },
    ],
  ];
}

function decide(held: Held, made: Made): HalfStep {
  return [{ is: "deciding", held, made, tries: 1 }, [{ do: "decide", held, decision: made.decision }]];
}

function release(held: Held, before: readonly HalfEffect[]): HalfStep {
  return [{ is: "releasing", held }, [...before, { do: "hold", held }, { do: "release", held }]];
}

function unknown(held: Held, wall: number, policy: HalfPolicy): HalfStep {
  const answer: HalfEffect = { do: "answer", decision: "unknown" };
  const over = held.checks >= policy.maxChecks && wall - held.preparedAt >= policy.maxAge;
  if (!over) return [ENDED, [defer(held, policy), answer]];
  const reason = `checked ${held.checks} times without a decision`;
  return [ENDED, [{ do: "park", held, reason }, answer]];
}

function decided(held: Held, made: Made, recorded: Decided | null): HalfStep {
  if (recorded?.decision === made.decision) {
    const tell: HalfEffect = { do: "tell", made };
    if (made.thrown !== null) return [ENDED, [tell, { do: "reject", error: made.thrown.error }]];
    const answer: HalfEffect = { do: "answer", decision: made.decision };
    if (made.decision === "rollback" || recorded.released) return [ENDED, [tell, answer]];
    return release(held, [tell, answer]);
  }
  // Somebody else has asked `check`, or a person has decided. Their decision stands, and the caller must know.
  const error =
    made.decision === "commit"
      ? new TallyError(
          "fenced",
          "somebody recorded a rollback first: it will not be sent, although its work says commit",
        )
      : new TallyError("fenced", "somebody recorded a commit first: it is sent, although its work did not say so", {
          mayArrive: true,
          cause: made.thrown?.error,
        });
  const committed = recorded?.decision === "commit" && !recorded.released;
  const reject: HalfEffect = { do: "reject", error };
  return committed ? release(held, [reject]) : [ENDED, [reject]];
}

function failed(state: HalfState, error: TallyError, policy: HalfPolicy): HalfStep {
  if (state.is === "preparing") return [ENDED, [{ do: "reject", error }]];
  if (state.is !== "deciding") return [state, []];
  const { held, made, tries } = state;
  if (tries < MOST_TRIES) {
    const ms = Math.min(MOST_WAIT_MS, FIRST_WAIT_MS * 2 ** (tries - 1));
    return [{ is: "deciding", held, made, tries: tries + 1 }, [{ do: "wait", ms }]];
  }
  const text = `the decision could not be recorded, and will be asked of check: ${error.message}`;
  return [
    ENDED,
    [
      defer(held, policy),
      { do: "reject", error: new TallyError("store", text, { mayArrive: true, retryable: true, cause: error }) },
    ],
  ];
}

/** The lease is the back-off: 1, 2, 4 … times the first one. */
function defer(held: Held, { checkMin, checkMax }: HalfPolicy): HalfEffect {
  const ms = Math.min(checkMax, checkMin * 2 ** Math.min(40, Math.max(0, held.checks - 1)));
  return { do: "defer", held, ms };
}
