import { resolveOptions, type Rule, TallyError, text } from "@tallymq/core/spi";
import { decoded, isThisMachine } from "../endpoint.ts";
import type { ManagementSettings } from "./management.ts";

/** The management API, which the audit looks at. It only reads. */
export interface ManagementOptions {
  /** `http[s]://user:password@host:15672`; a user with the tag `monitoring` sees all that the audit wants. */
  readonly url: string;
}

export const management: Rule<(ManagementSettings & { readonly openTo: string | null }) | null> = {
  default: null,
  read(name, given) {
    const { url } = resolveOptions(name, given as object, { url: text("", 2_000) });
    const parts = URL.parse(url);
    // The URL is not quoted: a mistyped one may hold its password anywhere.
    if (parts === null || !/^https?:$/.test(parts.protocol))
      throw new TallyError("bad-config", `${name}.url must be a URL like http://user:password@host:15672`);
    if (parts.username === "")
      throw new TallyError("bad-config", `${name}.url must have credentials, as in http://user:password@host:15672`);
    if (parts.search !== "" || parts.hash !== "")
      throw new TallyError("bad-config", `${name}.url must be a URL without ? and #`);
    const [user, password] = [parts.username, parts.password].map((part) => decoded(`${name}.url`, part));
    return Object.freeze({
      url: `${parts.protocol}//${parts.host}${parts.pathname.replace(/\/+$/, "")}`,
      authorization: `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`,
      openTo: parts.protocol === "https:" || isThisMachine(parts.hostname) ? null : parts.hostname,
    });
  },
};
