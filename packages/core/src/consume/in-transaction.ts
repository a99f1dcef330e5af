import { TallyError } from "../error.ts";
import { failpoint } from "../failpoints.ts";
import { type Hold, storeError } from "../inbox/claims.ts";
import type { Transacted, TxEnd, TxPublishes } from "../publish/transacted.ts";
import type { InboxTransactions } from "../stores.ts";
import type { Attempt, Job } from "./attempt.ts";

/** Whose failure it is: the handler's, with whatever it threw, or the transaction's. */
export type Failed =
  | { readonly by: "handler"; readonly thrown: unknown }
  | { readonly by: "store"; readonly error: TallyError };

/** Where the handler of one attempt runs. */
export interface Lane {
  /** It begins, also when it is begun anew. */
  enter(): void;
  /** It has returned: what is left is the commit, and another one may run. */
  leave(): void;
}

// What a transaction itself may end with beside a failing store.
const KNOWN: ReadonlySet<string> = new Set(["fenced", "handler-deadline"]);

/**
 * Runs a handler in a transaction that also has its mark, and what it publishes with `tx`: all of it is there after the
 * commit, or nothing. Never rejects; null means committed.
 *
 * An attempt that missed its deadline while it waited for its turn is not begun. One that misses it in the handler may
 * still commit, if its claim holds: then the redelivery finds the mark.
 */
export async function handleInTransaction(
  transactions: InboxTransactions<unknown>,
  transacted: Pick<Transacted, "begin"> | null,
  hold: Hold,
  job: Job,
  attempt: Attempt,
  body: unknown,
  lane: Lane,
): Promise<Failed | null> {
  let failed: Failed | null = null;
  let publishes: TxPublishes | null = null;
  try {
    await transactions.run(hold.claim, async (tx) => {
      if (job.running !== attempt) throw new TallyError("handler-deadline", "its turn came after its deadline");
      // A store may begin an effect anew whose first transaction was undone: what that came to is over.
      ended(publishes, "undone");
      failed = null;
      lane.enter();
      attempt.tx = tx;
      attempt.ran = true;
      publishes = transacted?.begin(tx) ?? null;
      try {
        await job.subscription.handler(body, attempt);
        publishes?.returned();
      } catch (thrown) {
        // Told apart here: a handler may throw errors of ours, of the same codes.
        failed = { by: "handler", thrown };
        throw thrown;
      }
      failpoint("inbox.in-effect");
      lane.leave();
    });
    ended(publishes, "committed");
    return null;
  } catch (thrown) {
    const known = TallyError.is(thrown) && KNOWN.has(thrown.code);
    // A store that failed may have committed before.
    ended(publishes, failed !== null || known ? "undone" : "unsure");
    if (failed !== null) return failed;
    return { by: "store", error: known ? (thrown as TallyError) : storeError("the transaction failed", thrown) };
  }
}

/** Assigned in a callback, where control flow analysis does not follow. */
function ended(publishes: TxPublishes | null, is: TxEnd): void {
  publishes?.ended(is);
}
