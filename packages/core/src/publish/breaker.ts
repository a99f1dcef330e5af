import { type Backoff, fullJitter } from "../backoff.ts";
import type { Random } from "../clock.ts";

/**
 * Whether the messages of one topic may go to the broker, as a value. One topic that the broker does not take must not
 * hold what all topics share: places in the window, rows on their way.
 *
 * - `closed`: they go. `failures` counts since the last answer, the first of them at `since`. A broker that is full for a
 *   moment fails a whole window over and over; only one that stays so opens it.
 * - `open`: none goes. What waits leaves the window, into the outbox where it may; what is on the wire comes to its end.
 * - `half-open`: one goes, and its end decides. `probing`: it is under way.
 */
export type BreakerState =
  | { readonly is: "closed"; readonly failures: number; readonly since: number }
  | { readonly is: "open"; readonly tries: number }
  | { readonly is: "half-open"; readonly tries: number; readonly probing: boolean };

export type BreakerInput =
  /**
   * The broker did not take a copy (nack, flow control), or the topic could not be declared, which weighs more; without
   * end if it has hung for long already. What all topics suffer from (a lost session, a silent or a blocked one) is not an input.
   */
  | { readonly type: "failed"; readonly weight: number; readonly probe: boolean; readonly now: number }
  /** The broker took a copy, or refused one for good: it answers for this topic. */
  | { readonly type: "answered" }
  /** The wait of `open` is over. */
  | { readonly type: "due" }
  /** A message goes out as the probe. */
  | { readonly type: "probe" }
  /** The probe ended without an answer: its caller gave up, its row was withdrawn. */
  | { readonly type: "gone" };

export type BreakerEffect =
  | { readonly do: "open" }
  /** Arms the timer of `open`. */
  | { readonly do: "wait"; readonly ms: number }
  /** Somebody may go now. */
  | { readonly do: "invite" }
  | { readonly do: "close" };

export interface BreakerPolicy {
  /** Failures in a row that open it, if they have lasted for `wait.min`. */
  readonly after: number;
  readonly wait: Backoff;
}

/** As it is for nearly all topics nearly always: the same value, so that it costs a comparison. */
export const CLOSED: BreakerState = Object.freeze({ is: "closed", failures: 0, since: 0 });

type Step = readonly [BreakerState, readonly BreakerEffect[]];
const NOTHING: readonly BreakerEffect[] = [];

/** One step; an input that does not apply changes nothing. */
export function step(state: BreakerState, input: BreakerInput, policy: BreakerPolicy, random: Random): Step {
  const open = (tries: number, effects: readonly BreakerEffect[]): Step => [
    { is: "open", tries },
    // At least half of it, or a jitter near nothing would probe at once.
    [...effects, { do: "wait", ms: policy.wait.min / 2 + fullJitter(policy.wait, tries + 1, random) }],
  ];
  switch (input.type) {
    case "failed": {
      if (state.is === "half-open") return input.probe ? open(state.tries + 1, NOTHING) : [state, NOTHING];
      if (state.is === "open") return [state, NOTHING];
      const failures = state.failures + input.weight;
      const since = state.failures === 0 ? input.now : state.since;
      const lasts = input.weight === Number.POSITIVE_INFINITY || input.now - since >= policy.wait.min;
      return failures >= policy.after && lasts
        ? open(0, [{ do: "open" }])
        : [{ is: "closed", failures, since }, NOTHING];
    }
    case "answered":
      return [CLOSED, state.is === "closed" ? NOTHING : [{ do: "close" }]];
    case "due":
      if (state.is !== "open") return [state, NOTHING];
      return [{ is: "half-open", tries: state.tries, probing: false }, [{ do: "invite" }]];
    case "probe":
      return state.is === "half-open" ? [{ ...state, probing: true }, NOTHING] : [state, NOTHING];
    case "gone":
      if (state.is !== "half-open" || !state.probing) return [state, NOTHING];
      return [{ ...state, probing: false }, [{ do: "invite" }]];
  }
}
