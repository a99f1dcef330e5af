/**
 * The life of one published message, as one table. A message's state is a small number; `next(state, event)` is all that
 * ever changes it.
 *
 * | state | meaning |
 * |---|---|
 * | `HELD` | not yet its turn: not admitted to the window, not validated, or behind its key |
 * | `WAITING` | the next copy goes out as soon as a session and its lane permit |
 * | `WIRE` | one copy is on the session in use, without a verdict |
 * | `OVERDUE` | that copy's verdict is overdue; another copy goes out, through a successor |
 * | `BACKOFF` | the last copy came to nothing; the next one waits for its timer |
 * | `DRAINING` | no more copies; what is still out on retired sessions decides between "rejected" and "may arrive" |
 * | `ENDED` | accepted, stored, rejected or withdrawn |
 * | `SPILLING` | on its way into the outbox; no more copies meanwhile |
 *
 * Events named `OLD_…` are verdicts of copies other than the last one; `…_LAST` are those after which no copy is open.
 */
export const HELD = 0;
export const WAITING = 1;
export const WIRE = 2;
export const OVERDUE = 3;
export const BACKOFF = 4;
export const DRAINING = 5;
export const ENDED = 6;
export const SPILLING = 7;
export type State =
  | typeof HELD
  | typeof WAITING
  | typeof WIRE
  | typeof OVERDUE
  | typeof BACKOFF
  | typeof DRAINING
  | typeof ENDED
  | typeof SPILLING;
export const STATES: readonly string[] = [
  "HELD",
  "WAITING",
  "WIRE",
  "OVERDUE",
  "BACKOFF",
  "DRAINING",
  "ENDED",
  "SPILLING",
];

export type Event =
  /** Its turn has come: admitted, validated, head of its key. */
  | "ready"
  /** A copy was given to the session in use. */
  | "sent"
  /** Any copy was accepted. */
  | "accepted"
  /** The copy on the session in use got a definite no; with others open, or as the last. */
  | "refused"
  | "refusedLast"
  /** The copy on the session in use was not stored, or never left, or got lost without a verdict. */
  | "failed"
  /** A copy on a retired session ended without "accepted"; with others open, or as the last. */
  | "oldFailed"
  | "oldFailedLast"
  /** The verdict of the copy on the session in use is overdue. */
  | "overdue"
  /** The back-off is over. */
  | "due"
  /** Nobody wants it any more and it may be dropped; with copies open, or none. */
  | "withdrawn"
  | "withdrawnLast"
  /** The same id is published again while copies of the withdrawn one are still out. */
  | "adopted"
  /** As before, while it drains and its last copy has its verdict: another one is needed. */
  | "adoptedAgain"
  /** It goes into the outbox. */
  | "spill"
  /** It is in the outbox. */
  | "stored"
  /** The outbox did not take it; with copies open, or none. */
  | "unstored"
  | "unstoredLast";

export const EVENTS: readonly Event[] = [
  "ready",
  "sent",
  "accepted",
  "refused",
  "refusedLast",
  "failed",
  "oldFailed",
  "oldFailedLast",
  "overdue",
  "due",
  "withdrawn",
  "withdrawnLast",
  "adopted",
  "adoptedAgain",
  "spill",
  "stored",
  "unstored",
  "unstoredLast",
];

/** Marks what cannot happen: a caller's mistake, which must stop in a test, not hide. */
export const NEVER = -1;
const N = NEVER;

/** `TRANSITIONS[event][state]`: the next state. */
// oxfmt-ignore
export const TRANSITIONS: Readonly<Record<Event, readonly number[]>> = {
  //               HELD     WAITING   WIRE      OVERDUE   BACKOFF   DRAINING  ENDED  SPILLING
  ready:         [ WAITING, N,        N,        N,        N,        N,        ENDED, N ],
  sent:          [ N,       WIRE,     N,        WIRE,     N,        N,        N,     N ],
  accepted:      [ N,       ENDED,    ENDED,    ENDED,    ENDED,    ENDED,    ENDED, ENDED ],
  refused:       [ N,       N,        DRAINING, DRAINING, N,        DRAINING, ENDED, N ],
  refusedLast:   [ N,       N,        ENDED,    ENDED,    N,        ENDED,    ENDED, N ],
  failed:        [ N,       N,        BACKOFF,  OVERDUE,  N,        N,        ENDED, N ],
  oldFailed:     [ N,       WAITING,  WIRE,     OVERDUE,  BACKOFF,  DRAINING, ENDED, SPILLING ],
  oldFailedLast: [ N,       WAITING,  WIRE,     OVERDUE,  BACKOFF,  ENDED,    ENDED, SPILLING ],
  overdue:       [ N,       N,        OVERDUE,  N,        N,        N,        N,     N ],
  due:           [ N,       N,        N,        N,        WAITING,  N,        N,     N ],
  withdrawn:     [ N,       DRAINING, DRAINING, DRAINING, DRAINING, DRAINING, ENDED, N ],
  withdrawnLast: [ ENDED,   ENDED,    ENDED,    ENDED,    ENDED,    ENDED,    ENDED, N ],
  adopted:       [ HELD,    WAITING,  WIRE,     OVERDUE,  BACKOFF,  WIRE,     N,     SPILLING ],
  adoptedAgain:  [ N,       N,        N,        N,        N,        WAITING,  N,     N ],
  spill:         [ N,       SPILLING, SPILLING, SPILLING, SPILLING, N,        N,     N ],
  stored:        [ N,       N,        N,        N,        N,        N,        ENDED, ENDED ],
  unstored:      [ N,       N,        N,        N,        N,        N,        ENDED, DRAINING ],
  unstoredLast:  [ N,       N,        N,        N,        N,        N,        ENDED, ENDED ],
};

export function next(state: State, event: Event): State {
  const to = TRANSITIONS[event][state] ?? NEVER;
  if (to === NEVER) throw new Error(`a message in state ${STATES[state]} cannot meet "${event}"`);
  return to as State;
}
