import { TallyError } from "@tallymq/core/spi";

/** Where a broker process listens, in the words of `node:net`. */
export type Address = { readonly host: "127.0.0.1" | "::1"; readonly port: number } | { readonly path: string };

const HOSTS: Readonly<Record<string, "127.0.0.1" | "::1">> = {
  "127.0.0.1": "127.0.0.1",
  localhost: "127.0.0.1",
  "[::1]": "::1",
};
// A path of a unix socket is cut off silently beyond this by some systems.
const LONGEST_PATH = 100;

/**
 * Reads an address. Loopback and unix sockets only: the broker process knows no passwords, so nobody else may reach it.
 * @throws TallyError `bad-config`
 */
export function parseAddress(what: string, given: unknown): Address {
  if (typeof given === "string") {
    if (given.startsWith("unix:")) return { path: path(what, given.slice(5)) };
    const cut = given.lastIndexOf(":");
    const host = HOSTS[given.slice(0, cut)];
    const port = Number(given.slice(cut + 1));
    if (host !== undefined && /^\d{1,5}$/.test(given.slice(cut + 1)) && port >= 1 && port <= 65_535)
      return { host, port };
  }
  throw new TallyError(
    "bad-config",
    `${what} must be "unix:/path" or a loopback address with a port, like "127.0.0.1:4555"`,
  );
}

function path(what: string, given: string): string {
  if (given.startsWith("/") && given.length <= LONGEST_PATH && !given.includes("\0")) return given;
  throw new TallyError(
    "bad-config",
    `${what}: the path of a unix socket must be absolute and at most ${LONGEST_PATH} characters`,
  );
}
