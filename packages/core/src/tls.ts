import { TallyError } from "./error.ts";
import { resolveOptions, type Rule, value } from "./policy.ts";

/**
 * TLS to a broker. Certificates are always checked, and TLS is 1.2 at least: no option and no environment variable turns that
 * off. A broker with a certificate of its own making is named by `ca`; one that is reached by another name than its
 * certificate has, by `servername`.
 */
export interface TlsOptions {
  /** Who may have signed the broker's certificate, as PEM. @default those that Node trusts */
  readonly ca?: string | Uint8Array | readonly (string | Uint8Array)[];
  /** The client's own certificate (chain), as PEM; with `key`. @default none */
  readonly cert?: string | Uint8Array;
  /** The key of `cert`, as PEM. @default none */
  readonly key?: string | Uint8Array;
  /** Of an encrypted `key`. @default none */
  readonly passphrase?: string;
  /** The name that the broker's certificate has to have. @default the host */
  readonly servername?: string;
}

/** What a TLS socket of the driver gets; as Node's tls has it. */
export interface ResolvedTls extends TlsOptions {
  /** Said, though it is Node's default: NODE_TLS_REJECT_UNAUTHORIZED=0 changes the default. */
  readonly rejectUnauthorized: true;
  readonly minVersion: "TLSv1.2";
}

const ALWAYS = { rejectUnauthorized: true, minVersion: "TLSv1.2" } as const;

/** TLS without options. */
export const DEFAULT_TLS: ResolvedTls = Object.freeze({ ...ALWAYS });

// An empty one, of an unset variable say, would be "none given" for Node.
const isPem = (v: unknown): v is string | Uint8Array =>
  (typeof v === "string" || v instanceof Uint8Array) && v.length > 0;
const isText = (v: unknown): v is string => typeof v === "string" && v.length > 0;

// Node passes over what is no PEM here, and then trusts nobody.
const isCa = (v: unknown): v is string | Uint8Array =>
  isPem(v) && (typeof v === "string" ? v : new TextDecoder("latin1").decode(v)).includes("-----BEGIN");

/** As `value`, but what was given may be a secret in the wrong place: not even a short one is shown. */
function unshown<T>(what: string, is: (v: unknown) => v is T): Rule<T | undefined> {
  return {
    default: undefined,
    read(name, given) {
      if (is(given)) return given;
      throw new TallyError("bad-config", `${name} must be ${what}; got a ${typeof given}`);
    },
  };
}

const pem = unshown("PEM as a string or bytes", isPem);
const BOUNDS = {
  ca: unshown("PEM as a string or bytes, or a list of these", (v): v is string | Uint8Array =>
    Array.isArray(v) ? v.length > 0 && v.every(isCa) : isCa(v),
  ),
  cert: pem,
  key: pem,
  passphrase: unshown("a string", isText),
  servername: value<string | undefined>(undefined, "a host name", isText),
  /** Known, so that who looks for it hears what to do instead. */
  rejectUnauthorized: {
    default: undefined,
    read(name: string): never {
      throw new TallyError(
        "bad-config",
        `${name} is no option here: the broker's certificate is always checked; name who signed it with ca, and the name in it with servername`,
      );
    },
  },
};

/** @throws TallyError `bad-config` */
export function resolveTls(where: string, given: unknown): ResolvedTls {
  if (typeof given !== "object")
    throw new TallyError("bad-config", `${where} must be an object of options; got a ${typeof given}`);
  const all = resolveOptions<
    { readonly [K in keyof TlsOptions]-?: TlsOptions[K] | undefined } & { readonly rejectUnauthorized: undefined }
  >(where, given as object, BOUNDS);
  if ((all.cert === undefined) !== (all.key === undefined))
    throw new TallyError("bad-config", `${where}: cert and key go together; one of them is missing`);
  if (all.passphrase !== undefined && all.key === undefined)
    throw new TallyError("bad-config", `${where}: passphrase needs key, which it opens`);
  // Node's tls takes an option that is there but undefined for a value.
  const set = Object.fromEntries(Object.entries(all).filter(([, v]) => v !== undefined));
  return Object.freeze({ ...set, ...ALWAYS });
}
