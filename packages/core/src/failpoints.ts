/**
 * The places at which a test may stop the world, each with what has happened there and what has not. A point stands between
 * two steps whose order a promise depends on: `kill -9` there must neither lose nor double a message, and
 * `integration-tests/crash` does just that at each of them.
 */
export const FAILPOINTS = {
  "publisher.called": "publish() has made the message; neither the broker nor a store has seen it",
  "publisher.sent": "the batch is with the adapter; it has no verdict, and may be stored or not",
  "publisher.accepted": "the broker has the message; the caller has no answer yet",

  "outbox.putting": "rows are made; none is in the store",
  "outbox.stored": "the store has answered, and what it took is fsynced; no caller has an answer yet",

  "relay.taken": "the lease has given out rows; no copy has left",
  "relay.sent": "copies of rows are with the adapter; the rows are in the store",
  "relay.accepted": "the broker has a row's message; the row is in the store",
  "relay.ended": "the rows are deleted; the fence does not know it yet",

  "tx.put": "a message is in a handler's transaction, which is open",
  "tx.committed": "effect, mark and messages are committed; the relay does not know of the rows",

  "half.prepared": "the half message is durable; its work has not begun",
  "half.offered": "the broker has the half message; its work has not begun",
  "half.worked": "the work has returned or thrown; its decision is recorded nowhere",
  "half.decided": "the decision is durable; the caller has no answer, and neither the relay nor the broker knows of it",
  "half.told": "the broker was told commit, and may have lost it; nothing was seen of the message",
  "half.asked": "the answer to the broker's question is made; it has not left",
  "half.released": "a committed one is a row, in its place behind those of its key; the fence does not know it yet",

  "inbox.claimed": "the claim is durable; the handler has not begun",
  "inbox.handled": "the handler has returned; its effect may be there, its mark is not (effect: marked)",
  "inbox.marked": "the mark is durable; nothing is acked (effect: marked)",
  "inbox.in-effect": "the handler has written by its tx; nothing is committed (effect: tx)",
  "inbox.committed": "effect and mark are committed; nothing is acked (effect: tx)",

  "settlement.due": "settlements of a tick are collected; the adapter has none of them",
  "settlement.handed": "settlements are with the adapter; whether they have left nobody knows",

  "park.parking": "a message of a parked key, or the head that parks it, is in hand; the store has nothing of it",
  "park.parked": "the message is in the inbox's store, its key parked; nothing is acked",
  "park.ran": "a parked message was run again and is marked; its row is in the store",
  "park.removed": "the row is gone, with the last one its key's parking; the next has not begun",

  "delay.sending": "the claim of a failed delivery has ended; its delayed copy has not left",
  "delay.confirmed": "the broker has the delayed copy; the delivery is not acked",

  "dead-letter.marked": "dead and its reason are durable; no letter has left",
  "dead-letter.confirmed": "the broker has the letter; the delivery is not acked",

  "letters.revived": "the dead mark is lifted; no message has left, and the letter is in its queue",
  "letters.confirmed": "the broker has the message again; the letter is in its queue",
  "letters.acked": "the ack of the letter is with the adapter; whether it has left nobody knows",
} as const;

/** The name of a place at which a test may stop the world. */
export type Failpoint = keyof typeof FAILPOINTS;

let armed: ((point: Failpoint) => void) | null = null;

/** Says that the program is here. Costs a comparison while nobody has armed anything. */
export function failpoint(point: Failpoint): void {
  if (armed !== null) armed(point);
}

/**
 * For tests alone: `passed` is called at each point, synchronously, until `null` is given instead. One for the process, and
 * one for each copy of this package: where two versions of it are loaded, each has its own.
 */
export function armFailpoints(passed: ((point: Failpoint) => void) | null): void {
  armed = passed;
}
