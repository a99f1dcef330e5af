import { describe, TallyError } from "../error.ts";
import type { ConsumerPolicy, Failure, Ruling } from "./options.ts";

export type HandlingError = TallyError<"handler" | "handler-deadline" | "decode" | "schema">;
/** Not the end yet: another attempt here, or elsewhere. */
export type Wait = Extract<Ruling, { readonly afterMs: number | null }>;

/**
 * What is left for a delivery whose attempts in place are used up, if nobody says otherwise: back to the broker; or, of an
 * ordered key, parked with its key, or tried again in place for ever, where there is nothing to park it in.
 */
export type Way = "release" | "park" | "block";
/** `block`: the head of an ordered key that nothing may overtake, in place after a back-off. */
export type Decision = Ruling | { readonly kind: "block" };

export const RETRY: Wait = Object.freeze({ kind: "retry", afterMs: null });
export const RELEASE: Wait = Object.freeze({ kind: "release", afterMs: null });
const DEAD: Ruling = Object.freeze({ kind: "deadLetter", reason: null });
const LAST: Readonly<Record<Way, Decision>> = {
  release: RELEASE,
  park: Object.freeze({ kind: "park", reason: null }),
  block: Object.freeze({ kind: "block" }),
};

/** What a failed attempt leads to, by the consumer's `onError` or by default. */
export function decide(
  { attempts, effect, onError }: ConsumerPolicy,
  error: HandlingError,
  about: Failure,
  way: Way,
  surfaced: (text: string) => void,
): Decision {
  // The same bytes give the same error: another attempt at once is for nothing, a later one may meet a newer consumer.
  const pointless = isUnreadable(error);
  let decision: Decision = LAST[way];
  if (!pointless && about.attempt < attempts) decision = RETRY;
  // Not for ever with an inbox, which keeps the dead from running.
  else if (pointless && way === "release" && effect !== "none") decision = DEAD;
  if (onError !== null) {
    try {
      decision = possible(checked(onError(error, about)), way);
    } catch (thrown) {
      const instead = way === "release" ? "released" : "treated as without onError";
      surfaced(`onError failed, the delivery is ${instead}: ${describe(thrown)}`);
      if (way === "release") decision = RELEASE;
    }
  }
  if (!pointless || decision.kind !== "retry") return decision;
  return way === "release" ? { kind: "release", afterMs: decision.afterMs } : LAST[way];
}

/** @throws TallyError `unsupported` */
function possible(ruling: Ruling, way: Way): Ruling {
  if (ruling.kind !== "park" || way === "park") return ruling;
  throw new TallyError(
    "unsupported",
    way === "release"
      ? "park() is for deliveries of an ordered key: of an ordered topic, with a key"
      : 'park() needs an inbox, an effect other than "none", and a message with an id',
  );
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
  if (given?.kind === "deadLetter" || given?.kind === "park")
    return { kind: given.kind, reason: typeof given.reason === "string" ? given.reason : null };
  if (given?.kind !== "retry" && given?.kind !== "release")
    throw new TallyError("bad-config", "onError must return retry(), release(), deadLetter() or park()");
  const { kind, afterMs } = given;
  return { kind, afterMs: typeof afterMs === "number" && afterMs >= 0 && afterMs < 2 ** 31 ? afterMs : null };
}
