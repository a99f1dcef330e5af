import type { ResolvedCredentials } from "../options.ts";

const encoder = new TextEncoder();

/** The fields of a request with who asks: HMAC-SHA1 over the values, in the order of their names, and the body. */
export async function signed(
  fields: Readonly<Record<string, string>>,
  body: Uint8Array,
  credentials: ResolvedCredentials | null,
): Promise<Readonly<Record<string, string>>> {
  if (credentials === null) return fields;
  const { accessKey, secretKey, securityToken } = credentials;
  const all: Record<string, string> = { ...fields, AccessKey: accessKey };
  if (securityToken !== null) all["SecurityToken"] = securityToken;
  const names = Object.keys(all).toSorted();
  const values = encoder.encode(names.map((name) => all[name]!).join(""));
  const bytes = new Uint8Array(values.length + body.length);
  bytes.set(values);
  bytes.set(body, values.length);
  const key = await crypto.subtle.importKey("raw", encoder.encode(secretKey), { name: "HMAC", hash: "SHA-1" }, false, [
    "sign",
  ]);
  const mac = new Uint8Array(await crypto.subtle.sign("HMAC", key, bytes));
  return { ...all, Signature: btoa(String.fromCharCode(...mac)) };
}
