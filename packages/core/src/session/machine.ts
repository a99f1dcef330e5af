import type { Backoff } from "../backoff.ts";
import { TallyError } from "../error.ts";

/**
 * A session's life, as a value.
 *
 * - `connecting`: one try to open session `epoch` is under way. `tries` counts from 1 since the last session that was open.
 * - `waiting`: the last try failed or the session was lost; the next try starts when the back-off timer fires.
 * - `open`: session `epoch` may be used.
 * - `closed`: no session, and none will come.
 */
export type SessionState =
  | { readonly is: "connecting"; readonly epoch: number; readonly tries: number }
  | { readonly is: "waiting"; readonly epoch: number; readonly tries: number }
  | { readonly is: "open"; readonly epoch: number }
  | { readonly is: "closed"; readonly epoch: number };

/** `unit` is uniform in [0, 1): the machine stays pure. */
export type SessionInput =
  | { readonly type: "opened"; readonly epoch: number }
  | { readonly type: "failed"; readonly epoch: number; readonly error: TallyError; readonly unit: number }
  | { readonly type: "lost"; readonly epoch: number; readonly error: TallyError; readonly unit: number }
  | { readonly type: "timer" }
  /** Give up the open session for a successor, at once: it is not lost, but it is not to be used for anything new. */
  | { readonly type: "replace" }
  | { readonly type: "close" };

export type SessionEffect =
  | { readonly do: "connect"; readonly epoch: number; readonly tries: number }
  | { readonly do: "wait"; readonly ms: number; readonly tries: number; readonly error: TallyError }
  | { readonly do: "use"; readonly epoch: number; readonly tries: number }
  | { readonly do: "drop"; readonly epoch: number; readonly error: TallyError }
  /** A try that came to its end after nobody wanted it any more. */
  | { readonly do: "discard"; readonly epoch: number }
  | { readonly do: "end" };

type Step = readonly [SessionState, readonly SessionEffect[]];

export const START: Step = [{ is: "connecting", epoch: 1, tries: 1 }, [{ do: "connect", epoch: 1, tries: 1 }]];

/** One step. An input that no longer applies (of an earlier epoch, or after close) changes nothing. */
export function step(state: SessionState, input: SessionInput, backoff: Backoff): Step {
  const { epoch } = state;
  switch (input.type) {
    case "opened":
      if (state.is !== "connecting" || input.epoch !== epoch) return [state, [{ do: "discard", epoch: input.epoch }]];
      return [{ is: "open", epoch }, [{ do: "use", epoch, tries: state.tries }]];
    case "failed":
      if (state.is !== "connecting" || input.epoch !== epoch) return [state, []];
      return wait(epoch, state.tries, input, backoff, []);
    case "lost":
      // Also while connecting: a session may be lost between its opening and the end of `open`; `failed` follows then.
      if (state.is !== "open" || input.epoch !== epoch) return [state, []];
      return wait(epoch, 0, input, backoff, [{ do: "drop", epoch, error: input.error }]);
    case "timer":
      if (state.is !== "waiting") return [state, []];
      return connect(epoch + 1, state.tries + 1);
    case "replace":
      if (state.is !== "open") return [state, []];
      return connect(epoch + 1, 1);
    case "close":
      return state.is === "closed" ? [state, []] : [{ is: "closed", epoch }, [{ do: "end" }]];
  }
}

function connect(epoch: number, tries: number): Step {
  return [{ is: "connecting", epoch, tries }, [{ do: "connect", epoch, tries }]];
}

function wait(
  epoch: number,
  tries: number,
  why: { readonly error: TallyError; readonly unit: number },
  backoff: Backoff,
  before: readonly SessionEffect[],
): Step {
  const ceiling = Math.min(backoff.max, backoff.min * 2 ** Math.min(tries, 40));
  const ms = Math.max(1, why.unit * ceiling);
  return [{ is: "waiting", epoch, tries }, [...before, { do: "wait", ms, tries: tries + 1, error: why.error }]];
}
