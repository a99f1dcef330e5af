import { describe, TallyError } from "../error.ts";
import type { ConsumerPolicy, Failure, Ruling } from "./options.ts";

export type HandlingError = TallyError<"handler" | "handler-deadline" | "decode" | "schema">;
/** Not the end yet: another attempt here, or elsewhere. */
export type Wait = Extract<Ruling, { readonly afterMs: number | null }>;

const RETRY: Wait = Object.freeze({ kind: "retry", afterMs: null });
export const RELEASE: Wait = Object.freeze({ kind: "release", afterMs: null });

/** What a failed attempt leads to, by the consumer's `onError` or by default. */
export function decide(
  { attempts, effect, onError }: ConsumerPolicy,
  error: HandlingError,
  about: Failure,
  surfaced: (text: string) => void,
): Ruling {
  // The same bytes give the same error: another attempt at once is for nothing, a later one may meet a newer consumer.
  const pointless = isUnreadable(error);
  let ruling: Ruling = about.attempt < attempts ? RETRY : RELEASE;
  // Not for ever with an inbox, which keeps the dead from running.
  if (pointless && effect !== "none") ruling = { kind: "deadLetter", reason: null };
  if (onError !== null) {
    try {
      ruling = checked(onError(error, about));
    } catch (thrown) {
      surfaced(`onError failed, the delivery is released: ${describe(thrown)}`);
      ruling = RELEASE;
    }
  }
  return pointless && ruling.kind === "retry" ? { kind: "release", afterMs: ruling.afterMs } : ruling;
}

/** The body's, not the handler's. */
export function isUnreadable({ code }: TallyError): boolean {
  return code === "decode" || code === "schema";
}

/** The store's, or the claim's: no handler has failed. */
export function isNotItsOwn({ code }: TallyError): boolean {
  return code === "store" || code === "fenced";
}

function checked(given: Ruling | null | undefined): Ruling {
  if (given?.kind === "deadLetter")
    return { kind: "deadLetter", reason: typeof given.reason === "string" ? given.reason : null };
  if (given?.kind !== "retry" && given?.kind !== "release")
    throw new TallyError("bad-config", "onError must return retry(), release() or deadLetter()");
  const { kind, afterMs } = given;
  return { kind, afterMs: typeof afterMs === "number" && afterMs >= 0 && afterMs < 2 ** 31 ? afterMs : null };
}
