import { type Clock, type Duration, describe, milliseconds, TallyError, utf8Length } from "@tallymq/core/spi";
import type { Endpoint } from "./endpoint.ts";

/** Who connects, as the `credentials` of {@link RabbitOptions} says it. With OAuth 2 the token is the password. */
export interface Credentials {
  /** With a token: the broker takes the name from it. @default "" */
  readonly username?: string;
  readonly password: string;
  /**
   * From the call of `credentials` on; a second at least. When four fifths are over, `credentials` is called again and the
   * open connection is told the new password (`connection.update-secret`). OAuth 2 says it in seconds: `${expires_in}s`.
   * @default they are good for ever
   */
  readonly expiresIn?: Duration;
}

/** What is asked for credentials: which broker, and until when the answer counts. */
export interface CredentialsRequest {
  /** `amqps://host:port/vhost`, without credentials. */
  readonly url: string;
  /** Fires when nobody waits for the answer any more. */
  readonly signal: AbortSignal;
}

/** Gives name and password for a connection that is about to open, or about to need new ones. */
export type AskCredentials = (request: CredentialsRequest) => Credentials | Promise<Credentials>;

/** Credentials at work. Times are the clock's, monotonic; null: good for ever. */
export interface Login {
  readonly username: string;
  readonly password: string;
  readonly lasts: { readonly renewAt: number; readonly endsAt: number } | null;
}

const RENEW_AT = 0.8;

/** What the URL says, or what `credentials` answers now. @throws TallyError that holds nothing of the answer */
export async function logIn(
  { shown, username, password }: Endpoint,
  ask: AskCredentials | null,
  clock: Clock,
  signal: AbortSignal,
): Promise<Login> {
  if (ask === null) return { username, password, lasts: null };
  const since = clock.now();
  let given: unknown;
  try {
    given = await ask({ url: shown, signal });
  } catch (thrown) {
    // No cause: what an HTTP client throws often holds the request, and with it the client's own secret.
    throw new TallyError("unreachable", `${shown}: credentials() failed: ${describe(thrown)}`, { retryable: true });
  }
  const answer: Partial<Record<keyof Credentials, unknown>> = typeof given === "object" && given !== null ? given : {};
  if (typeof answer.password !== "string" || answer.password === "")
    throw new TallyError("bad-config", `${shown}: credentials() must give { password }, a string that is not empty`);
  const name = answer.username ?? "";
  // The driver writes both between NULs.
  if (typeof name !== "string" || `${name}${answer.password}`.includes("\0") || utf8Length(name) > 255)
    throw new TallyError("bad-config", `${shown}: credentials() must give a username of 255 bytes at most, and no NUL`);
  return { username: name, password: answer.password, lasts: lasting(shown, answer.expiresIn, since) };
}

function lasting(shown: string, given: unknown, since: number): Login["lasts"] {
  if (given === undefined || given === null) return null;
  const ms = milliseconds(`${shown}: credentials(): expiresIn`, given as Duration, 1_000, Number.MAX_SAFE_INTEGER);
  return { renewAt: since + ms * RENEW_AT, endsAt: since + ms };
}
