import { describe, type ErrorCode, TallyError } from "@tallymq/core/spi";
import type { Status } from "./driver/driver.ts";

/** What was being done when the error came; it decides what a lost connection means. */
export type While = "opening" | "open";

/**
 * The one place where an error of gRPC, of the proxy or of the admin protocol gets its meaning. gRPC's codes go from 0 to 16,
 * RocketMQ's begin at 20000, and those of the admin protocol are another's: each comes in an error of its own kind.
 *
 * None of them holds a secret, so they may stand as `cause`.
 * @param what Named in the message: a topic, a group, the endpoint.
 */
export function classify(thrown: unknown, what: string, during: While): TallyError {
  if (TallyError.is(thrown)) return thrown;
  const text = describe(thrown);
  const make = (code: ErrorCode, retryable: boolean): TallyError =>
    new TallyError(code, `${what}: ${text}`, { retryable, cause: thrown });
  // Whatever somebody threw: it may be nothing at all.
  const { status, remoting, code } = (thrown ?? {}) as { status?: Status; remoting?: number; code?: unknown };
  if (status !== undefined) {
    if (status.code === 40_100 || status.code === 40_300) return make("unauthorized", false);
    // Whatever else the proxy has against us: what it knows of topics and groups may be old.
    if (status.code >= 40_000 && status.code < 41_000) return make("topology", true);
  }
  if (remoting !== undefined) return remoting === NO_PERMISSION ? make("unauthorized", false) : make("topology", true);
  if (code === UNAUTHENTICATED || code === PERMISSION_DENIED) return make("unauthorized", false);
  // A certificate that does not fit will not fit at the next try either, until a person has changed it.
  if (/certificate|CERT_|self.signed|altnames|PEM|ERR_TLS|ERR_SSL|wrong version number/i.test(text))
    return make("unauthorized", false);
  // Everything else is the network, or a broker that is not ready.
  return make(during === "opening" ? "unreachable" : "session-lost", true);
}

const NO_PERMISSION = 16;
const PERMISSION_DENIED = 7;
const UNAUTHENTICATED = 16;

/**
 * What a send's answer means for the copy.
 *
 * `perhaps`: looks final, and comes for up to 20 s after a broker has died, from what the proxy has in its caches.
 * `unsafe`: the broker has it, and has neither seen it on disk nor at a replica in time.
 */
export type Meaning = "doubt" | "later" | "unsafe" | "perhaps" | "refused" | "unauthorized" | "too-large";

export function meaningOf({ code, text }: Status): Meaning {
  switch (code) {
    case 42_900:
      return "later";
    case 50_401:
    case 50_402:
      return "unsafe";
    case 40_014:
    case 40_300:
    case 40_400:
    case 40_402:
      return "perhaps";
    case 40_100:
      return "unauthorized";
    case 41_300:
    case 41_301:
      return "too-large";
    case 41_302:
    case 43_100:
    case 43_101:
    case 50_100:
      return "refused";
    case 50_001:
      // Said before anything is stored; every other 50001 may come after.
      return text.includes("in-sync replicas not enough") ? "later" : "doubt";
    default:
      return code >= 40_000 && code < 40_100 ? "refused" : "doubt";
  }
}
