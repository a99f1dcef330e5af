import { describe, TallyError } from "./error.ts";

/** How bodies become bytes and back. Both directions are synchronous and throw {@link TallyError}. */
export interface Codec<T> {
  /** MIME type, as written on the wire. */
  readonly contentType: string;
  /** Bytes that nobody else holds: a snapshot. @throws TallyError `bad-message` */
  encode(body: T): Uint8Array;
  /** @throws TallyError `decode` */
  decode(bytes: Uint8Array): T;
}

const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** JSON in UTF-8. What JSON cannot hold (undefined, functions, cycles, BigInt) is refused, not dropped. */
export const json: Codec<unknown> = {
  contentType: "application/json",
  encode(body) {
    let text: string | undefined;
    try {
      text = JSON.stringify(body);
    } catch (cause) {
      // Cycles, BigInt, a throwing getter or toJSON, or depth beyond the stack.
      throw new TallyError("bad-message", `the body cannot be written as JSON: ${describe(cause).split("\n")[0]}`, { cause });
    }
    if (text === undefined) throw new TallyError("bad-message", `the body must be a JSON value; got ${typeof body}`);
    return encoder.encode(text);
  },
  decode(bytes) {
    try {
      const text = decoder.decode(bytes);
      // JSON.parse makes "__proto__" an ordinary own key, but the next careless copy of the object would obey it.
      return text.includes("__proto__") ? JSON.parse(text, withoutProto) : JSON.parse(text);
    } catch (cause) {
      // The parser's own words quote the body: they stay in no error of ours.
      throw new TallyError("decode", `the body is not JSON in UTF-8 (${bytes.length} bytes)`, {
        cause: new SyntaxError(cause instanceof SyntaxError ? "malformed JSON" : "malformed UTF-8"),
      });
    }
  },
};

function withoutProto(this: unknown, key: string, value: unknown): unknown {
  return key === "__proto__" ? undefined : value;
}

/** Bytes as they are. */
export const bytes: Codec<Uint8Array> = {
  contentType: "application/octet-stream",
  encode(body) {
    if (!(body instanceof Uint8Array)) throw new TallyError("bad-message", `the body must be a Uint8Array; got ${body === null ? "null" : typeof body}`);
    return body.slice();
  },
  decode: (received) => received,
};
