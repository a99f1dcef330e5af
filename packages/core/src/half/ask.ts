import { readMessage } from "../body.ts";
import { describe, showGiven, TallyError } from "../error.ts";
import type { Incoming, Outgoing } from "../message.ts";
import type { Decision } from "../port/half.ts";
import type { HalfKind } from "./kind.ts";
import type { HalfContext } from "./options.ts";

/** What `check` said; `error`: why that was no answer, and counts as `unknown`. */
export interface Answer {
  readonly answer: Decision;
  readonly error: string | null;
}

/** Asks `check` about a message, for as long as the lease. Never rejects. */
export async function ask(
  { topic, check, policy, runtime }: Pick<HalfKind, "topic" | "check" | "policy" | "runtime">,
  message: Pick<Outgoing, "body" | "contentEncoding"> | Incoming,
  context: HalfContext,
): Promise<Answer> {
  const limit = Promise.withResolvers<never>();
  limit.promise.catch(() => {});
  const timer = runtime.clock.after(policy.lease, () =>
    limit.reject(new TallyError("handler-deadline", `no answer within ${policy.lease} ms`)),
  );
  try {
    const body = await readMessage(topic, message);
    const answer: unknown = await Promise.race([check(body as never, context), limit.promise]);
    return isDecision(answer) ? { answer, error: null } : { answer: "unknown", error: notADecision("check", answer) };
  } catch (thrown) {
    return { answer: "unknown", error: describe(thrown) };
  } finally {
    timer.cancel();
  }
}

export function isDecision(given: unknown): given is Decision {
  return given === "commit" || given === "rollback" || given === "unknown";
}

export function notADecision(who: "work" | "check", given: unknown): string {
  return `${who} must return "commit", "rollback" or "unknown"; got ${showGiven(given)}`;
}
