import { describe, TallyError } from "../error.ts";
import type { ConsumerPolicy, Failure, Ruling } from "./options.ts";

export type HandlingError = TallyError<"handler" | "handler-deadline" | "decode" | "schema">;
/** Not the end yet: another attempt here, or elsewhere. */
export type Wait = Extract<Ruling, { readonly afterMs: number | null }>;

/**
 * What is left for a delivery whose attempts in place are used up, if nobody says otherwise: it comes again later as a
 * delayed copy, or, where the broker delays none, goes back to it; of an ordered key, it is parked with its key, or tried
 * again in place for ever, where there is nothing to park it in.
 */
export type Way = "delay" | "release" | "park" | "block";
export interface Ways {
  readonly way: Way;
  /** Milliseconds; 0: none. */
  readonly longestDelay: number;
}
/** `block`: the head of an ordered key that nothing may overtake, in place after a back-off. */
export type Decision = Ruling | { readonly kind: "block" };

export const RETRY: Wait = Object.freeze({ kind: "retry", afterMs: null });
export const RELEASE: Wait = Object.freeze({ kind: "release", afterMs: null });
const DEAD: Ruling = Object.freeze({ kind: "deadLetter", reason: null });
const LAST: Readonly<Record<Way, Decision>> = {
  delay: Object.freeze({ kind: "delay", afterMs: null }),
  release: RELEASE,
  park: Object.freeze({ kind: "park", reason: null }),
  block: Object.freeze({ kind: "block" }),
};

/** What a failed attempt leads to, by the consumer's `onError` or by default. */
export function decide(
  { attempts, effect, onError }: ConsumerPolicy,
  error: HandlingError,
  about: Failure,
  { way, longestDelay }: Ways,
  surfaced: (text: string) => void,
): Decision {
  const unordered = way === "delay" || way === "release";
  // The same bytes give the same error: another attempt at once is for nothing, a later one may meet a newer consumer.
  const pointless = isUnreadable(error);
  let decision: Decision = LAST[way];
  if (!pointless && about.attempt < attempts) decision = RETRY;
  // Not for ever with an inbox, which keeps the dead from running.
  else if (pointless && unordered && effect !== "none") decision = DEAD;
  if (onError !== null) {
    try {
      decision = possible(checked(onError(error, about)), way, longestDelay);
    } catch (thrown) {
      const instead = unordered ? "released" : "treated as without onError";
      surfaced(`onError failed, the delivery is ${instead}: ${describe(thrown)}`);
      if (unordered) decision = RELEASE;
    }
  }
  if (!pointless || decision.kind !== "retry") return decision;
  return unordered ? { kind: way, afterMs: decision.afterMs } : LAST[way];
}

/** @throws TallyError `unsupported` */
function possible(ruling: Ruling, way: Way, longestDelay: number): Ruling {
  const unordered = way === "delay" || way === "release";
  if (ruling.kind === "park" && way !== "park")
    throw new TallyError(
      "unsupported",
      unordered
        ? "park() is for deliveries of an ordered key: of an ordered topic, with a key"
        : 'park() needs an inbox, an effect other than "none", and a message with an id',
    );
  if (ruling.kind !== "delay") return ruling;
  if (way !== "delay")
    throw new TallyError(
      "unsupported",
      unordered
        ? "delay() needs a broker that delays messages of this topic: rule release()"
        : "delay() is not for deliveries of an ordered key, which what came after them would overtake: rule retry() or park()",
    );
  if (ruling.afterMs !== null && ruling.afterMs > longestDelay)
    throw new TallyError("unsupported", `delay(): this broker delays by ${longestDelay} ms at most`);
  return ruling;
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
  if (given?.kind !== "retry" && given?.kind !== "delay" && given?.kind !== "release")
    throw new TallyError("bad-config", "onError must return retry(), delay(), release(), deadLetter() or park()");
  const { kind, afterMs } = given;
  return { kind, afterMs: typeof afterMs === "number" && afterMs >= 0 && afterMs < 2 ** 31 ? afterMs : null };
}
