import { TallyError } from "../error.ts";
import type { Decision } from "../port/half.ts";
import type { HalfPolicy } from "./options.ts";
import type { Decided, Prepared, StoredHalf } from "./store.ts";

/** Who has an undecided one: the caller of `run()`, or whoever found it with nobody at it. */
export interface Held {
  readonly place: number;
  readonly fence: number;
  readonly checks: number;
  /** Wall-clock milliseconds. */
  readonly preparedAt: number;
  /** The broker has it as a half message of its own, or may have. */
  readonly atBroker: boolean;
}

/**
 * The life of one half message in one process, as a value.
 *
 * - `preparing`: the store has been asked to keep it. Killed here: it is there, undecided, or it is not; no work has begun.
 * - `busy`: another process is at it, or was and is dead: asked again when that lease is over.
 * - `offering`: it is durable and ours, and the broker is given its half message. Killed here: the broker has one, or not; no
 *   work has begun, and after the lease somebody checks.
 * - `working`: it is durable and ours, and its work runs. The lease is renewed, so that nobody checks meanwhile. Killed here:
 *   nobody knows whether the work was done, and after the lease somebody checks.
 * - `checking`: nobody was at it, and `check` has been asked.
 * - `deciding`: the decision is being written, and written again while the store fails. The first one in the store stays. Killed
 *   here: it is recorded, or somebody checks.
 * - `releasing`: `commit` is recorded, and its row is on its way to its place behind those of its key. Killed here: whoever
 *   finds it committed releases it.
 * - `settling`: `commit` is recorded, and the broker, which has the half message, is told; told is not done, so that it is looked
 *   for among the broker's messages. Killed here: whoever finds it committed goes on looking, and answers when the broker asks.
 *   What has not been found when the broker asks no more is released.
 * - `ended`: nothing of it is left to do here. If it is undecided, its lease is its back-off.
 */
export type HalfState =
  | { readonly is: "preparing" | "busy" }
  | { readonly is: "offering" | "working" | "checking" | "releasing" | "settling"; readonly held: Held }
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
  /** Null: the broker has it. */
  | { readonly type: "offered"; readonly refused: TallyError | null }
  | { readonly type: "worked"; readonly decision: Decision }
  | { readonly type: "threw"; readonly error: unknown }
  | { readonly type: "checked"; readonly decision: Decision; readonly wall: number }
  | { readonly type: "decided"; readonly recorded: Decided | null }
  /** The store did not answer as it should. */
  | { readonly type: "failed"; readonly error: TallyError }
  | { readonly type: "timer" }
  | { readonly type: "released" }
  /** The broker's messages have it; or it was not among them when the broker asked no more. */
  | { readonly type: "proved" | "unproved" }
  /** Another row has its id: a person must look. */
  | { readonly type: "unreleasable"; readonly reason: string }
  | { readonly type: "close"; readonly error: TallyError };

export type HalfEffect =
  | { readonly do: "prepare" }
  | { readonly do: "wait"; readonly ms: number }
  /** Renews the lease from now on. */
  | { readonly do: "hold"; readonly held: Held }
  | { readonly do: "offer" }
  /** No work has begun, and none will: as if it had never been. */
  | { readonly do: "withdraw"; readonly held: Held }
  /** The broker does not have it: it waits in the store alone. */
  | { readonly do: "keep"; readonly error: TallyError }
  | { readonly do: "work" }
  | { readonly do: "check"; readonly held: Held }
  | { readonly do: "decide"; readonly held: Held; readonly decision: "commit" | "rollback" }
  | { readonly do: "tell"; readonly made: Made }
  | { readonly do: "release"; readonly held: Held }
  /** Tells the broker, as far as it listens. */
  | { readonly do: "inform"; readonly decision: "commit" | "rollback" }
  | { readonly do: "settle"; readonly held: Held }
  | { readonly do: "settled"; readonly held: Held }
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
export function found(half: StoredHalf, policy: HalfPolicy): HalfStep {
  const held = heldOf(half, policy);
  return half.state === "undecided" ? check(held) : send(held, []);
}

/** One step. An input that no longer applies changes nothing. */
export function step(state: HalfState, input: HalfInput, policy: HalfPolicy): HalfStep {
  switch (input.type) {
    case "prepared":
      return state.is === "preparing" ? prepared(input.answer, input.wall, policy) : [state, []];
    case "offered":
      return state.is === "offering" ? offered(state.held, input.refused, policy) : [state, []];
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
    case "proved":
      return state.is === "settling" ? [ENDED, [{ do: "settled", held: state.held }]] : [state, []];
    case "unproved":
      return state.is === "settling" ? release(state.held, []) : [state, []];
    case "unreleasable":
      if (state.is !== "releasing") return [state, []];
      return [ENDED, [{ do: "park", held: state.held, reason: input.reason }]];
    case "close": {
      const reject: HalfEffect = { do: "reject", error: input.error };
      if (state.is === "offering") return [ENDED, [{ do: "withdraw", held: state.held }, reject]];
      return state.is === "ended" ? [state, []] : [ENDED, [reject]];
    }
  }
}

function prepared(answer: Prepared, wall: number, policy: HalfPolicy): HalfStep {
  switch (answer.is) {
    case "prepared": {
      const { place, fence } = answer;
      const held: Held = { place, fence, checks: 0, preparedAt: wall, atBroker: false };
      const hold: HalfEffect = { do: "hold", held };
      return policy.keep === "outbox" ? work(held, [hold]) : [{ is: "offering", held }, [hold, { do: "offer" }]];
    }
    case "undecided":
      return check(heldOf(answer.half, policy));
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

function heldOf({ place, fence, checks, preparedAt }: StoredHalf, { keep }: HalfPolicy): Held {
  return { place, fence, checks, preparedAt, atBroker: keep !== "outbox" };
}

function offered(held: Held, refused: TallyError | null, { keep }: HalfPolicy): HalfStep {
  if (refused === null) return work({ ...held, atBroker: true }, []);
  // Perhaps the broker has it all the same: when it asks, the record answers.
  if (keep === "either") return work(held, [{ do: "keep", error: refused }]);
  return [
    ENDED,
    [
      { do: "withdraw", held },
      { do: "reject", error: refused },
    ],
  ];
}

function work(held: Held, before: readonly HalfEffect[]): HalfStep {
  return [{ is: "working", held }, [...before, { do: "work" }]];
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

/** A committed one, on its way to consumers: by the broker that has it, or as a row. */
function send(held: Held, before: readonly HalfEffect[]): HalfStep {
  if (!held.atBroker) return release(held, before);
  return [{ is: "settling", held }, [...before, { do: "hold", held }, { do: "settle", held }]];
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
    const end: HalfEffect =
      made.thrown === null ? { do: "answer", decision: made.decision } : { do: "reject", error: made.thrown.error };
    const told: HalfEffect[] = [{ do: "tell", made }, end];
    if (held.atBroker) told.push({ do: "inform", decision: made.decision });
    return made.decision === "rollback" || recorded.released ? [ENDED, told] : send(held, told);
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
  return committed ? send(held, [reject]) : [ENDED, [reject]];
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
