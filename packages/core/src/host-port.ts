import { TallyError } from "./error.ts";
import type { Rule } from "./policy.ts";

/** One address of a broker. */
export interface HostPort {
  /** `host:port`, as it was given. */
  readonly name: string;
  /** Of an IPv6 address without its brackets. */
  readonly host: string;
  readonly port: number;
}

/**
 * Reads `host:port`. What is given is never quoted: it may be a URL with a password.
 * @param where Named in the error, like `"kafka: brokers[0]"`.
 * @param example What it could be, like `"localhost:9092"`.
 * @throws TallyError `bad-config`
 */
export function readHostPort(where: string, given: unknown, example: string): HostPort {
  const found =
    typeof given === "string" ? /^(\[[0-9a-fA-F:]+\]|[a-zA-Z0-9._-]{1,253}):([0-9]{1,5})$/.exec(given) : null;
  const port = Number(found?.[2]);
  if (found === null || port < 1 || port > 65_535)
    throw new TallyError(
      "bad-config",
      `${where} must be host:port, like ${JSON.stringify(example)}; one in each string, no URL, and no port left out`,
    );
  return Object.freeze({ name: given as string, host: found[1]!.replace(/^\[|\]$/g, ""), port });
}

/** A list of at least one `host:port`. */
export function hostPorts(example: string): Rule<readonly HostPort[]> {
  return {
    default: [],
    read(name, given) {
      if (!Array.isArray(given) || given.length === 0)
        throw new TallyError("bad-config", `${name} must be a list of at least one host:port`);
      return Object.freeze(given.map((one, at) => readHostPort(`${name}[${at}]`, one, example)));
    },
  };
}
