import { TallyError } from "@tallymq/core/spi";

/** One address of a proxy. */
export interface Endpoint {
  /** `host:port`, as it was given. */
  readonly name: string;
  readonly host: string;
  readonly port: number;
  /** As gRPC wants it. */
  readonly target: string;
}

/**
 * Reads `host:port`. What is given is never quoted: it may be a URL with a password.
 * @throws TallyError `bad-config`
 */
export function readEndpoint(where: string, given: unknown): Endpoint {
  const found =
    typeof given === "string" ? /^(\[[0-9a-fA-F:]+\]|[a-zA-Z0-9._-]{1,253}):([0-9]{1,5})$/.exec(given) : null;
  const port = Number(found?.[2]);
  if (found === null || port < 1 || port > 65_535)
    throw new TallyError(
      "bad-config",
      `${where} must be host:port, like "localhost:8081"; one in each string, no URL, and no port left out`,
    );
  const host = found[1]!;
  const scheme = host.startsWith("[") ? "ipv6" : /^\d{1,3}(\.\d{1,3}){3}$/.test(host) ? "ipv4" : "dns";
  return Object.freeze({
    name: given as string,
    host: host.replace(/^\[|\]$/g, ""),
    port,
    target: `${scheme}:${given as string}`,
  });
}
