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
 * | `ENDED` | accepted, rejected or withdrawn |
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
export type State =
  | typeof HELD
  | typeof WAITING
  | typeof WIRE
  | typeof OVERDUE
  | typeof BACKOFF
  | typeof DRAINING
  | typeof ENDED;
export const STATES: readonly string[] = ["HELD", "WAITING", "WIRE", "OVERDUE", "BACKOFF", "DRAINING", "ENDED"];

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
  | "adoptedAgain";

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
];

/** Marks what cannot happen: a caller's mistake, which must stop in a test, not hide. */
export const NEVER = -1;
const N = NEVER;

/** `TRANSITIONS[event][state]`: the next state. */
export const TRANSITIONS: Readonly<Record<Event, readonly number[]>> = {
  //               HELD      WAITING   WIRE      OVERDUE   BACKOFF   DRAINING  ENDED
  ready: [WAITING, N, N, N, N, N, ENDED],
  sent: [N, WIRE, N, WIRE, N, N, N],
  accepted: [N, ENDED, ENDED, ENDED, ENDED, ENDED, ENDED],
  refused: [N, N, DRAINING, DRAINING, N, DRAINING, ENDED],
  refusedLast: [N, N, ENDED, ENDED, N, ENDED, ENDED],
  failed: [N, N, BACKOFF, OVERDUE, N, N, ENDED],
  oldFailed: [N, WAITING, WIRE, OVERDUE, BACKOFF, DRAINING, ENDED],
  oldFailedLast: [N, WAITING, WIRE, OVERDUE, BACKOFF, ENDED, ENDED],
  overdue: [N, N, OVERDUE, N, N, N, N],
  due: [N, N, N, N, WAITING, N, N],
  withdrawn: [N, DRAINING, DRAINING, DRAINING, DRAINING, DRAINING, ENDED],
  withdrawnLast: [ENDED, ENDED, ENDED, ENDED, ENDED, ENDED, ENDED],
  adopted: [HELD, WAITING, WIRE, OVERDUE, BACKOFF, WIRE, N],
  adoptedAgain: [N, N, N, N, N, WAITING, N],
};

export function next(state: State, event: Event): State {
  const to = TRANSITIONS[event][state] ?? NEVER;
  if (to === NEVER) throw new Error(`a message in state ${STATES[state]} cannot meet "${event}"`);
  return to as State;
}
