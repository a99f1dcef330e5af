import type { HostPort } from "@tallymq/core/spi";

/** An address as gRPC wants it: with the kind of its host in front. */
export function targetOf({ name }: HostPort): string {
  const kind = name.startsWith("[") ? "ipv6" : /^\d{1,3}(\.\d{1,3}){3}:/.test(name) ? "ipv4" : "dns";
  return `${kind}:${name}`;
}
