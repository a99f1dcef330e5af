import { TallyError } from "@tallymq/core/spi";

/** One URL, taken apart. Its password appears in nothing that is shown. */
export interface Endpoint {
  readonly protocol: "amqp" | "amqps";
  readonly hostname: string;
  readonly port: number;
  readonly username: string;
  readonly password: string;
  /** The URL has credentials of its own; else they are guest's. */
  readonly hasLogin: boolean;
  /** Still percent-encoded: the driver decodes it. */
  readonly vhost: string;
  /** `amqp://host:port/vhost`, without credentials: what errors and events may name. */
  readonly shown: string;
}

/**
 * `amqp[s]://[user[:password]@]host[:port][/vhost]`. Credentials default to guest, the port to 5672 (amqps: 5671), the
 * virtual host to `/`.
 * @throws TallyError `bad-config`, which never quotes the URL: a mistyped one may hold its password anywhere.
 */
export function readEndpoint(where: string, url: unknown): Endpoint {
  if (typeof url !== "string") throw bad(where, `a URL as a string; got a ${typeof url}`);
  const parts = URL.parse(url);
  if (parts === null) throw bad(where, "a URL like amqp://user:password@host:5672/vhost; this one cannot be read");
  const protocol = parts.protocol.slice(0, -1);
  if (protocol !== "amqp" && protocol !== "amqps")
    throw bad(
      where,
      `a URL that begins with amqp:// or amqps://; got ${/^[a-z][a-z0-9+.-]{0,15}$/.test(protocol) ? `${protocol}://` : "another scheme"}`,
    );
  if (parts.hostname === "") throw bad(where, "a URL with a host");
  if (parts.search !== "" || parts.hash !== "")
    throw bad(where, "a URL without ? and #: heartbeat, frame size and the like are options of rabbitmq()");
  const port = parts.port === "" ? (protocol === "amqp" ? 5672 : 5671) : Number(parts.port);
  if (port < 1) throw bad(where, "a URL with a port from 1 to 65535");
  const vhost = parts.pathname.slice(1);
  if (vhost.includes("/")) throw bad(where, "a URL whose path is one virtual host; a slash in its name is written %2F");
  // Only the whole pair has a default: a user without a password has an empty one.
  const given = parts.username !== "" || parts.password !== "";
  return Object.freeze({
    protocol,
    hostname: parts.hostname.replace(/^\[|\]$/g, ""),
    port,
    username: given ? decoded(where, parts.username) : "guest",
    password: given ? decoded(where, parts.password) : "guest",
    hasLogin: given,
    vhost: (decoded(where, vhost), vhost),
    shown: `${protocol}://${parts.hostname}:${port}/${vhost}`,
  });
}

/**
 * AMQP's PLAIN login is the password itself: without TLS whoever is on the way reads it. Guest's is no secret.
 * @throws TallyError `bad-config`
 */
export function refuseOpenPassword(where: string, endpoint: Endpoint, asked: boolean): void {
  const { protocol, hostname, hasLogin } = endpoint;
  if (protocol === "amqps" || !(hasLogin || asked)) return;
  if (isThisMachine(hostname)) return;
  throw new TallyError(
    "bad-config",
    `${where} would send its password unencrypted to ${hostname}: write amqps://, or say plaintextPassword: true`,
  );
}

/** @param hostname As in a URL: an IPv6 address may stand in brackets. */
export function isThisMachine(hostname: string): boolean {
  return /^(?:(?:.+\.)?localhost|127(?:\.\d+){3}|\[?::1\]?)$/.test(hostname);
}

/** The virtual host as the driver and the broker understand it: none is `/`. */
export function vhostOf({ vhost }: Endpoint): string {
  return decodeURIComponent(vhost) || "/";
}

/** @throws TallyError `bad-config` that does not hold the text */
export function decoded(where: string, text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    // The thrown URIError is dropped: it is about text that may be a password.
    throw bad(where, "a URL whose percent signs are followed by two hexadecimal digits (a plain % is written %25)");
  }
}

function bad(where: string, what: string): TallyError {
  return new TallyError("bad-config", `${where} must be ${what}`);
}
