import { describe, TallyError } from "./error.ts";
import { allocate, encodeText } from "./slab.ts";

/** How bodies become bytes and back. Both directions are synchronous and throw {@link TallyError}. */
export interface Codec<In, Out = In> {
  /** MIME type, as written on the wire. */
  readonly contentType: string;
  /** Bytes that nobody else holds: a snapshot. @throws TallyError `bad-message` */
  encode(body: In): Uint8Array;
  /** @throws TallyError `decode` */
  decode(bytes: Uint8Array): Out;
}

const decoder = new TextDecoder("utf-8", { fatal: true });

/**
 * Arrays and objects in each other, at most. Readers of other make give up at 64 to 1,000, some by a full stack: what is
 * deeper is an attack or a mistake, on the way out and on the way in.
 */
export const MAX_DEPTH = 1_000;

/**
 * JSON in UTF-8. A body that JSON cannot hold (undefined, a function, cycles, BigInt) is refused. Within a body the rules
 * of `JSON.stringify` hold: it leaves out properties that are undefined or functions, and writes NaN as null. Nested deeper
 * than 1,000 it is neither written nor read.
 */
export const json: Codec<unknown> = {
  contentType: "application/json",
  encode(body) {
    let text: string | undefined;
    try {
      text = JSON.stringify(body);
    } catch (cause) {
      // Cycles, BigInt, a throwing getter or toJSON, or depth beyond the stack.
      throw new TallyError("bad-message", `the body cannot be written as JSON: ${describe(cause).split("\n")[0]}`, {
        cause,
      });
    }
    if (text === undefined) throw new TallyError("bad-message", `the body must be a JSON value; got ${typeof body}`);
    if (isTooDeep(text)) throw new TallyError("bad-message", `the body is nested deeper than ${MAX_DEPTH}`);
    return encodeText(text);
  },
  decode(bytes) {
    try {
      const text = decoder.decode(bytes);
      if (isTooDeep(text)) throw new RangeError("nested too deeply");
      // JSON.parse makes "__proto__" an ordinary own key, but the next careless copy of the object would obey it.
      // Escapes can hide the name: \u005f is its underscore, \u0070 its p.
      return text.includes("__proto__") || text.includes("\\u00") ? JSON.parse(text, withoutProto) : JSON.parse(text);
    } catch (cause) {
      // The parser's own words quote the body: they stay in no error of ours.
      throw new TallyError("decode", `the body is not JSON in UTF-8 (${bytes.length} bytes)`, {
        cause: new SyntaxError(
          cause instanceof SyntaxError
            ? "malformed JSON"
            : cause instanceof RangeError
              ? "nested too deeply"
              : "malformed UTF-8",
        ),
      });
    }
  },
};

/** Whether a JSON text is nested deeper than {@link MAX_DEPTH}. */
function isTooDeep(text: string): boolean {
  // Each level takes a bracket at both ends: hardly any text has enough of them, and looking for them is fast.
  return text.length > 2 * MAX_DEPTH && count(text, "[") + count(text, "{") > MAX_DEPTH && depth(text) > MAX_DEPTH;
}

function count(text: string, letter: string): number {
  let found = 0;
  for (let i = text.indexOf(letter); i !== -1 && found <= MAX_DEPTH; i = text.indexOf(letter, i + 1)) found++;
  return found;
}

function depth(text: string): number {
  let deepest = 0;
  let open = 0;
  let quoted = false;
  for (let i = 0; i < text.length; i++) {
    const c = text[i];
    if (quoted) {
      if (c === "\\") i++;
      else if (c === '"') quoted = false;
    } else if (c === '"') quoted = true;
    else if (c === "[" || c === "{") deepest = Math.max(deepest, ++open);
    else if (c === "]" || c === "}") open--;
  }
  return deepest;
}

function withoutProto(this: unknown, key: string, value: unknown): unknown {
  return key === "__proto__" ? undefined : value;
}

/** Bytes as they are. */
export const bytes: Codec<Uint8Array> = {
  contentType: "application/octet-stream",
  encode(body) {
    if (!(body instanceof Uint8Array))
      throw new TallyError("bad-message", `the body must be a Uint8Array; got ${body === null ? "null" : typeof body}`);
    const copy = allocate(body.byteLength);
    copy.set(body);
    return copy;
  },
  decode: (received) => received,
};
