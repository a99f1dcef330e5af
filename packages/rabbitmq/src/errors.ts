import { describe, type ErrorCode, TallyError } from "@tallymq/core/spi";
import { STREAM } from "./topics.ts";

/** What was being done when the driver's error came; it decides what a lost connection means. */
export type While = "opening" | "declaring" | "open";

/**
 * The one place where an error of the driver or of the broker gets its meaning.
 *
 * The driver's errors hold reply texts, host names and ports, never the URL (checked for 2.3.1), so they may stand as
 * `cause`. What could hold a URL, an error of `new URL`, never gets here: endpoint.ts drops it.
 * @param what Named in the message: an endpoint without credentials, a queue, "the session".
 */
export function classify(thrown: unknown, what: string, during: While): TallyError {
  if (TallyError.is(thrown)) return thrown;
  const text = describe(thrown);
  const make = (code: ErrorCode, words: string, retryable: boolean): TallyError =>
    new TallyError(code, `${what}: ${words}`, { retryable, cause: thrown });
  const lost = during === "open" ? "session-lost" : "unreachable";
  switch (replyCode(thrown, text)) {
    case 403:
      // ACCESS_REFUSED: wrong credentials while opening, a missing permission later. Waiting grants neither.
      return make("unauthorized", text, false);
    case 530:
      // NOT_ALLOWED: something that this user, or anybody, may not do.
      return make("unauthorized", text, false);
    case 404:
      // NOT_FOUND: the exchange or queue is not there (any more). A declaration that is not ours to make is final;
      // for a session it is a reason to begin again, topology first. A queue whose node is down says "not_found" too.
      return during === "declaring"
        ? make("topology", `${text}; it is not there, and the option declare says that others make it`, false)
        : make("session-lost", text, true);
    case 406:
      if (during === "declaring" && /current is 'stream'|queue type rabbit_stream_queue/.test(text))
        return make("unsupported", `it is a stream: ${STREAM}`, false);
      if (during === "declaring" && text.includes("unknown exchange type"))
        return make(
          "unsupported",
          `${text}; where it is x-consistent-hash: rabbitmq-plugins enable rabbitmq_consistent_hash_exchange`,
          false,
        );
      // PRECONDITION_FAILED: while declaring, what exists differs from what was asked for; on a session, a message or an
      // acknowledgement that the broker could not take (a consumer time-out comes as this one as well).
      return during === "declaring"
        ? make(
            "topology",
            `${text}; delete it, name another one in topics, or set declare: false to use it as it is`,
            false,
          )
        : make("session-lost", text, true);
    case 405:
      // RESOURCE_LOCKED: somebody holds it exclusively; that ends with their connection.
      return make(during === "declaring" ? "topology" : "session-lost", text, true);
    case 320:
      // CONNECTION_FORCED: an operator or a shutdown closed the connection.
      return make(lost, text, true);
    case 501:
    case 502:
    case 503:
    case 504:
    case 505:
      // FRAME_ERROR … UNEXPECTED_FRAME: one side broke the protocol. A new session starts from a clean slate.
      return make(lost, text, true);
    case 506:
    case 541:
      // RESOURCE_ERROR, INTERNAL_ERROR: the broker's own trouble, such as a queue without a majority.
      return make(lost, text, true);
    case 540:
      // NOT_IMPLEMENTED: what exists is of a kind that cannot do what was asked.
      return make(during === "declaring" ? "topology" : lost, text, during !== "declaring");
    case null:
      break;
    default:
      return make(lost, text, true);
  }
  if (text.includes("Expected ConnectionOpenOk; got <ConnectionClose")) {
    // The broker refused the virtual host, and the driver drops its words: not there, not for this user, too many
    // connections, or still starting. The last two pass by themselves.
    return make(
      "unauthorized",
      "the broker refused the virtual host: it does not exist, is not open to this user, or is not up",
      true,
    );
  }
  // OpenSSL could not use what `tls` gives it (a key of another certificate, a wrong pass phrase, no PEM): before any byte
  // was sent, and the same at each try. Its words name the fault and never the key.
  if (codeOf(thrown).startsWith("ERR_OSSL_"))
    return make("bad-config", `tls cannot be used as it is given: ${text}`, false);
  // A plain listener answers a TLS hello with AMQP's greeting.
  if (/^ERR_SSL_(?:WRONG_VERSION_NUMBER|PACKET_LENGTH_TOO_LONG)$/.test(codeOf(thrown)))
    return make("bad-config", "this port does not speak TLS; another port, or amqp://?", false);
  // TLS: a certificate that does not fit will not fit at the next try either, until a person has changed it.
  const refused = tlsRefusal(thrown, text);
  if (refused !== null) return make("unauthorized", refused, false);
  // A TLS listener that is greeted in AMQP hangs up; so does a broker that is going down.
  if (text.startsWith("Socket closed abruptly") && what.startsWith("amqp://"))
    return make(lost, `${text}; if this port is for TLS, write amqps://`, true);
  // Everything else is the network: refused, reset, unknown host, silence, an end of the stream.
  return make(lost, text === "" ? codeOf(thrown) || "no connection" : text, true);
}

/** The reply code of AMQP, where the error has one; those of a failed handshake stand only in the driver's text. */
function replyCode(thrown: unknown, text: string): number | null {
  const code: unknown = typeof thrown === "object" && thrown !== null ? (thrown as { code?: unknown }).code : undefined;
  if (typeof code === "number") return code;
  const found =
    /^(?:Handshake terminated by server|Connection closed|Channel closed by server|Operation failed): [^"]*?(\d{3}) \(/.exec(
      text,
    );
  return found === null ? null : Number(found[1]);
}

/** Who refused whose certificate and why, or null: it is about something else. */
function tlsRefusal(thrown: unknown, text: string): string | null {
  const code = codeOf(thrown);
  if (/^ERR_SSL_.*ALERT/.test(code)) {
    // Node's message is OpenSSL's line of source; its `reason` is the alert's name.
    const reason: unknown = (thrown as { readonly reason?: unknown }).reason;
    const alert = typeof reason === "string" ? reason : text;
    return `the broker refused the TLS handshake: ${alert}${/certificate|unknown ca/i.test(alert) ? "; this client's own certificate is tls.cert with tls.key" : ""}`;
  }
  if (!/CERT|^ERR_TLS|^ERR_SSL|^UNABLE_TO_(?:VERIFY|GET_ISSUER)/.test(code)) return null;
  const hint = code.includes("ALTNAME")
    ? "; tls.servername says by what name it is known"
    : /SELF_SIGNED|^UNABLE_TO/.test(code)
      ? "; tls.ca says who may have signed it"
      : "";
  return `the broker's certificate is refused: ${text}${hint}`;
}

/** Node's own code of an error, or nothing. */
function codeOf(thrown: unknown): string {
  const code: unknown = typeof thrown === "object" && thrown !== null ? (thrown as { code?: unknown }).code : undefined;
  return typeof code === "string" ? code : "";
}
