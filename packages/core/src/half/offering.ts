import { fullJitter } from "../backoff.ts";
import { sleep } from "../clock.ts";
import { TallyError } from "../error.ts";
import { failpoint } from "../failpoints.ts";
import type { Outgoing } from "../message.ts";
import type { HalfSession } from "../port/half.ts";
import type { BrokerHalves } from "./broker.ts";
import type { HalfKind } from "./kind.ts";

/** The broker's half message, as the session that sent it knows it. */
export interface Handle {
  readonly session: HalfSession;
  readonly handle: string;
}

const BACKOFF = { min: 100, max: 2_000 };

/**
 * Gives the broker its half message, copy after copy, until one is accepted. A copy in doubt may be there as well: when the
 * broker asks about it the record answers, and what is handed out twice has one id.
 * @param ended Fires when nobody wants it any more.
 * @throws TallyError when it is not accepted within `brokerWithin`, or never will be; nothing of it takes effect
 */
export async function offer(
  { name, policy, runtime }: Pick<HalfKind, "name" | "policy" | "runtime">,
  broker: BrokerHalves,
  message: Outgoing,
  ended: AbortSignal,
): Promise<Handle> {
  const { clock, random, events } = runtime;
  const late = new AbortController();
  const timer = clock.after(policy.brokerWithin, () => late.abort());
  const signal = AbortSignal.any([late.signal, ended]);
  try {
    for (let copy = 1; ; copy++) {
      const { verdict, handle, session } = await broker.prepare(name, message, signal);
      if (verdict.kind === "accepted" && handle !== null && session !== null) {
        failpoint("half.offered");
        return { handle, session };
      }
      const error =
        verdict.kind === "accepted" ? new TallyError("in-doubt", "accepted without a handle") : verdict.error;
      if (verdict.kind === "refused" || verdict.kind === "unroutable" || signal.aborted) throw unaccepted(error);
      const wait = Math.max(verdict.kind === "later" ? verdict.afterMs : 1, fullJitter(BACKOFF, copy, random));
      await sleep(clock, wait, signal).catch(() => {
        throw unaccepted(error);
      });
      events.emit({ type: "resend", topic: message.topic, id: message.id, copy: copy + 1, because: error.code });
    }
  } finally {
    timer.cancel();
  }
}

function unaccepted(error: TallyError): TallyError {
  const text = `the broker did not take the half message, and no work was done: ${error.message}`;
  return new TallyError(error.code, text, { retryable: error.retryable, cause: error });
}
