import { describe, type ErrorCode, TallyError } from "@tallymq/core/spi";
import { SendFailure } from "./driver/driver.ts";

/** What was being done when the driver's error came; it decides what a lost connection means. */
export type While = "opening" | "open";

/**
 * The one place where an error of the driver or of the broker gets its meaning.
 *
 * The driver's errors hold hosts, ports, names of topics and groups, never a password, so they may stand as `cause`.
 * @param what Named in the message: a topic, a group, "the brokers".
 */
export function classify(thrown: unknown, what: string, during: While): TallyError {
  if (TallyError.is(thrown)) return thrown;
  const text = describe(rootOf(thrown));
  const make = (code: ErrorCode, retryable: boolean, words: string = text): TallyError =>
    new TallyError(code, `${what}: ${words}`, { retryable, cause: thrown });
  switch (typeOf(thrown)) {
    case "TOPIC_AUTHORIZATION_FAILED":
    case "GROUP_AUTHORIZATION_FAILED":
    case "CLUSTER_AUTHORIZATION_FAILED":
    case "SASL_AUTHENTICATION_FAILED":
    case "UNSUPPORTED_SASL_MECHANISM":
    case "ILLEGAL_SASL_STATE":
    case "SECURITY_DISABLED":
      // Waiting grants nothing.
      return make("unauthorized", false);
    case "INVALID_TOPIC_EXCEPTION":
    case "INVALID_PARTITIONS":
    case "INVALID_CONFIG":
    case "POLICY_VIOLATION":
      // The broker will not have the topic as it was asked for.
      return make("topology", false);
    case "INVALID_REPLICATION_FACTOR":
      // More replicas than brokers: also while some of them are down.
      return make("topology", true, `${text}; with so few brokers, give kafka() a smaller replicationFactor`);
    case "INCONSISTENT_GROUP_PROTOCOL":
      // Somebody who is no Tally consumes under the group's name, with another protocol.
      return make("topology", true);
    case "INVALID_SESSION_TIMEOUT":
      return make(
        "bad-config",
        false,
        `${text}; the broker bounds sessionTimeout (group.min.session.timeout.ms and max)`,
      );
    default:
      break;
  }
  // The broker did not take user and password. kafkajs also says so when the connection ends in that very exchange, as it
  // does where TLS is spoken to a listener without; neither mends itself.
  if (chain(thrown).some((one) => one.name === "KafkaJSSASLAuthenticationError")) return make("unauthorized", false);
  const code = chain(thrown).find((one) => typeof one.code === "string")?.code as string | undefined;
  // OpenSSL could not use what `tls` gives it: before any byte was sent. kafkajs drops the code and keeps the words, which
  // name the fault and never the key.
  if (/^Failed to connect: error:[0-9A-F]+:/.test(text))
    return make("bad-config", false, `tls cannot be used as it is given: ${text}`);
  // A certificate that does not fit will not fit at the next try either, until a person has changed it.
  if (code !== undefined && /CERT|^ERR_TLS|^ERR_SSL|^UNABLE_TO_/.test(code)) return make("unauthorized", false);
  // Everything else is the network, or a broker that is not ready: another session begins from a clean slate.
  return make(during === "opening" ? "unreachable" : "session-lost", true);
}

/** What a rejected send means for its messages. */
export type Rejection =
  | { readonly kind: "too-large" }
  /** `ofOne`: one of them is what is refused, and with it the batch; the broker does not say which. */
  | { readonly kind: "refused"; readonly error: TallyError; readonly ofOne: boolean }
  /** May be stored, or was given up by the client: the producer's sequence numbers can no longer be trusted. */
  | { readonly kind: "doubt"; readonly error: TallyError };

/**
 * A definite no is one that the broker gave to the only attempt there was, before it appended anything. After a second
 * attempt the answer is about that one; the first may be in the log.
 */
export function rejection(thrown: unknown, topic: string): Rejection {
  const attempts = thrown instanceof SendFailure ? thrown.attempts : 2;
  const cause = thrown instanceof SendFailure ? thrown.cause : thrown;
  const text = describe(rootOf(cause));
  const refused = (code: ErrorCode, ofOne: boolean): Rejection => ({
    kind: "refused",
    error: new TallyError(code, `topic ${topic}: ${text}`, { cause }),
    ofOne,
  });
  if (attempts === 1) {
    switch (typeOf(cause)) {
      case "MESSAGE_TOO_LARGE":
      case "RECORD_LIST_TOO_LARGE":
        return { kind: "too-large" };
      case "TOPIC_AUTHORIZATION_FAILED":
      case "CLUSTER_AUTHORIZATION_FAILED":
        return refused("unauthorized", false);
      case "INVALID_RECORD":
        return refused("refused", true);
      case "INVALID_TIMESTAMP":
        // They have one time, all of a batch.
        return refused("refused", false);
      default:
        break;
    }
  }
  return {
    kind: "doubt",
    error: new TallyError("in-doubt", `topic ${topic}: the broker's answer was lost, or is none: ${text}`, {
      mayArrive: true,
      retryable: true,
      cause,
    }),
  };
}

/** Whether parts of the batch may be taken. Nothing of it is stored, and its sequence numbers are free. */
export function divides(rejected: Rejection): boolean {
  return rejected.kind === "too-large" || (rejected.kind === "refused" && rejected.ofOne);
}

/** The protocol's name for the error, where it has one. kafkajs wraps its errors in others, several deep. */
export function typeOf(thrown: unknown): string | null {
  for (let at: unknown = thrown, deep = 0; typeof at === "object" && at !== null && deep < 10; deep++) {
    const { type, errors, cause } = at as { type?: unknown; errors?: unknown; cause?: unknown };
    if (typeof type === "string") return type;
    // Of several topics: that of the first which is more than "exists already".
    if (Array.isArray(errors)) {
      const types = errors.map(typeOf);
      return types.find((one) => one !== null && one !== "TOPIC_ALREADY_EXISTS") ?? types[0] ?? null;
    }
    at = cause;
  }
  return null;
}

/** The error and its causes, the outermost first. */
function chain(thrown: unknown): readonly { readonly name?: unknown; readonly code?: unknown }[] {
  const all: { readonly name?: unknown; readonly code?: unknown }[] = [];
  for (let at: unknown = thrown; typeof at === "object" && at !== null && all.length < 10;) {
    all.push(at);
    at = (at as { cause?: unknown }).cause;
  }
  return all;
}

function rootOf(thrown: unknown): unknown {
  return chain(thrown).at(-1) ?? thrown;
}
