import { describe, resolveOptions, TallyError, type Rule } from "@tallymq/core/spi";

/** Who connects. */
export interface SaslOptions {
  /** `"plain"` sends the password as it is, and so needs `tls`. */
  readonly mechanism: "plain" | "scram-sha-256" | "scram-sha-512";
  readonly username: string;
  /**
   * Or a function that gives it, for passwords that rotate: called for each session that opens. One that fails counts as a
   * broker that is away: it is asked again.
   */
  readonly password: string | AskPassword;
  /** Lets `"plain"` go over a connection that anybody on the way can read. @default false */
  readonly allowPlaintext?: boolean;
}

/** Gives the password for a session that is about to open. */
export type AskPassword = () => string | Promise<string>;

export interface ResolvedSasl {
  readonly mechanism: SaslOptions["mechanism"];
  readonly username: string;
  readonly password: string | AskPassword;
  readonly allowPlaintext: boolean;
}

const MECHANISMS: readonly unknown[] = ["plain", "scram-sha-256", "scram-sha-512"];

/** What was given may be a secret in the wrong place: nothing of it is shown. */
function unshown<T>(fallback: T, what: string, is: (value: unknown) => value is T): Rule<T> {
  return {
    default: fallback,
    read(name, given) {
      if (is(given)) return given;
      throw new TallyError("bad-config", `${name} must be ${what}; got a ${typeof given}`);
    },
  };
}

// The protocol of "plain" puts both between NULs.
const isText = (value: unknown): value is string =>
  typeof value === "string" && value.length > 0 && value.length <= 1_024 && !value.includes("\0");
const text: Rule<string> = unshown("", "a string that is not empty, without NUL", isText);

/** @throws TallyError `bad-config`, which quotes nothing of it */
export function resolveSasl(where: string, given: unknown): ResolvedSasl {
  if (typeof given !== "object")
    throw new TallyError("bad-config", `${where} must be an object of options; got a ${typeof given}`);
  const sasl = resolveOptions<ResolvedSasl>(where, given as object, {
    mechanism: unshown<SaslOptions["mechanism"]>(
      "plain",
      '"plain", "scram-sha-256" or "scram-sha-512"',
      (value): value is SaslOptions["mechanism"] => MECHANISMS.includes(value),
    ),
    username: text,
    password: unshown<string | AskPassword>(
      "",
      "a string that is not empty, without NUL, or a function that gives one",
      (value): value is string | AskPassword => isText(value) || typeof value === "function",
    ),
    allowPlaintext: unshown(false, "true or false", (value) => typeof value === "boolean"),
  });
  for (const key of ["mechanism", "username", "password"] as const)
    if ((given as Partial<SaslOptions> | null)?.[key] === undefined)
      throw new TallyError("bad-config", `${where}: ${key} is missing`);
  return sasl;
}

/** The password for a session that opens now. @throws TallyError that holds nothing of it */
export async function passwordOf({ password }: ResolvedSasl): Promise<string> {
  if (typeof password === "string") return password;
  let given: unknown;
  try {
    given = await password();
  } catch (thrown) {
    // No cause: what an HTTP client throws often holds the request, and with it the client's own secret.
    throw new TallyError("unreachable", `sasl.password() failed: ${describe(thrown)}`, { retryable: true });
  }
  if (isText(given)) return given;
  throw new TallyError("bad-config", `sasl.password() must give a string that is not empty, without NUL`);
}
