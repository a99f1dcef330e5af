/**
 * Delays without a plugin, and without a timer that only lives in memory: a topic beside the one that is delayed, whose
 * partitions are the steps of a ladder. What lies in a step waits there for twice as long as in the one below (64 ms, 128 ms
 * … 12 days), so that the oldest of a step is always the first that may leave it, and a long delay is never in front of a
 * short one. What leaves a step goes to the longest that still fits, and from the last one to where it is due.
 *
 *     publish, 320 ms                        orders.delays
 *        │
 *        └──▶ partition 2 (256 ms) ──▶ partition 0 (64 ms) ──▶ orders, or orders.billing.copies
 *
 * Time is that of the brokers: they write into a record of this topic when they took it (`LogAppendTime`), and from the
 * first of them follows when it is due. That is carried along, so that hops do not add up.
 */

/** Time of the lowest step, in milliseconds: the precision of delays. */
export const STEP_MS = 64;
/** Partitions of a topic for delays: the last one's time is the longest that is shorter than the longest delay. */
export const STEPS = 25;
/** As on RabbitMQ; less than the longest timer of Node. */
export const LONGEST_DELAY: number = 24 * 24 * 3_600_000;

/** Milliseconds from the broker's time of the record on which it stands. */
export const DELAY = "tally-delay";
/** Wall-clock milliseconds of the brokers: on records that have left a step. */
export const DUE = "tally-delay-due";
/** The one group whose copy it is. */
export const GROUP = "tally-delay-group";

/** The longest step that is over before so many milliseconds are; the lowest, if none is. */
export function stepOf(ms: number): number {
  return Math.min(STEPS - 1, Math.max(0, Math.floor(Math.log2(ms / STEP_MS))));
}

/** When it leaves its step. What would be due less than a lowest step later stays until then, rather than make another hop. */
export function leavesAt(step: number, timestamp: number, due: number): number {
  const over = timestamp + STEP_MS * 2 ** step;
  return due - over < STEP_MS ? due : over;
}

/** When it is due. What somebody else has put there, without a word of when, is due now. */
export function dueOf(timestamp: number, headers: Readonly<Record<string, string>>): number {
  const due = whole(headers[DUE]);
  if (due !== null) return due;
  return timestamp + Math.min(whole(headers[DELAY]) ?? 0, LONGEST_DELAY);
}

function whole(given: string | undefined): number | null {
  return given !== undefined && /^\d{1,15}$/.test(given) ? Number(given) : null;
}
