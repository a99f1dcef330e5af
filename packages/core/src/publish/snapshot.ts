import { type Duration, milliseconds } from "../duration.ts";
import { describe, showGiven, TallyError } from "../error.ts";
import { uuidV7 } from "../ids.ts";
import { largestGiven } from "../compress/compress.ts";
import { type Draft, RESERVED_PREFIX } from "../message.ts";
import { nearest, utf8Length } from "../policy.ts";
import type { Runtime } from "../runtime.ts";
import type { Topic } from "../topic.ts";
import type { Cause, PublishOptions } from "./options.ts";
import { rejection } from "./rejections.ts";

/** Headers of one message, names and values together, in bytes of UTF-8. */
export const MAX_HEADER_BYTES = 65_536;
/** Ids and keys: what AMQP's short strings hold, on every broker. */
export const MAX_NAME_BYTES = 255;

const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({});
const NO_OPTIONS: PublishOptions = Object.freeze({});
const KNOWN: ReadonlySet<string> = new Set([
  "id",
  "key",
  "headers",
  "correlationId",
  "cause",
  "signal",
  "deadline",
  "native",
  "delay",
  "tx",
] satisfies (keyof PublishOptions)[]);

/**
 * Checks and encodes a call to `publish()`, before anything else happens. Does not validate against the schema.
 * @throws TallyError `bad-message`, `too-large`, `bad-config`, `unsupported`
 */
export function snapshot<In>(
  runtime: Runtime,
  topic: Topic<In, unknown>,
  body: In,
  options: PublishOptions = NO_OPTIONS,
): Draft {
  const id =
    options.id === undefined ? uuidV7(runtime.clock.wall(), runtime.random) : name("id", options.id, undefined);
  const { cause } = options;
  const bytes = encoded(topic, body, id);
  const most = largestGiven(topic, runtime.transport.traits);
  if (bytes.byteLength > most) {
    throw new TallyError(
      "too-large",
      `the body of ${id} has ${bytes.byteLength} bytes; ${most === topic.maxBytes ? `topic ${topic.name}` : runtime.transport.name} takes at most ${most}`,
      { id },
    );
  }
  return {
    id,
    producer: runtime.service,
    run: runtime.run,
    seq: 0,
    topic: topic.name,
    key: keyOf(topic, body, options, id),
    ordered: topic.ordered,
    type: topic.type,
    contentType: topic.codec.contentType,
    contentEncoding: null,
    time: runtime.clock.wall(),
    attempt: 1,
    correlationId:
      options.correlationId !== undefined
        ? name("correlationId", options.correlationId, id)
        : cause === undefined
          ? null
          : (cause.correlationId ?? cause.id),
    causationId: cause === undefined ? null : cause.id,
    headers: options.headers === undefined && cause === undefined ? NO_HEADERS : headersOf(options, id),
    body: bytes,
    native: options.native === undefined ? null : Object.freeze({ ...options.native }),
    group: null,
    delayMs: options.delay === undefined ? 0 : delayOf(runtime, topic, options.delay, id),
  };
}

/** A codec of the user's own may throw anything, and give anything. What it gave may be the body: no error shows it. */
function encoded<In>(topic: Topic<In, unknown>, body: In, id: string): Uint8Array {
  let given: unknown;
  try {
    given = topic.codec.encode(body);
  } catch (cause) {
    if (TallyError.is(cause)) throw rejection(cause, id, false);
    throw new TallyError("bad-message", `the codec of topic ${topic.name} threw for ${id}: ${describe(cause)}`, {
      id,
      cause,
    });
  }
  if (given instanceof Uint8Array) return given;
  throw new TallyError(
    "bad-message",
    `the codec of topic ${topic.name} must give a Uint8Array, and at once; for ${id} it gave ${given === null ? "null" : typeof given}`,
    { id },
  );
}

/** What the broker cannot do is refused by name, and never made shorter. */
function delayOf(
  runtime: Runtime,
  { name: of, ordered, groups }: Topic<never, unknown>,
  delay: Duration,
  id: string,
): number {
  const ms = milliseconds("publish: delay", delay, 0, Number.MAX_SAFE_INTEGER);
  const { name: broker, traits } = runtime.transport;
  const why =
    ms === 0
      ? null
      : ordered
        ? `topic ${of} is ordered: what came after a delayed message would overtake it`
        : groups.length === 0
          ? `topic ${of} names no groups: what is due and has no queue to go to would hold up what is behind it`
          : traits.longestDelay === 0
            ? `${broker} cannot delay messages`
            : ms > traits.longestDelay
              ? `${broker} delays by ${traits.longestDelay} ms at most; got ${ms} ms`
              : null;
  if (why !== null) throw new TallyError("unsupported", `delay of ${id}: ${why}`, { id });
  return Math.ceil(ms);
}

/** Of one call, before anything of them is used; `null` for a signal is none. @throws TallyError `bad-config` */
export function checkOptions(options: PublishOptions): void {
  if (!isObject(options) || Array.isArray(options)) throw wrong("publish", "an object of options", options);
  for (const option in options) {
    if (!KNOWN.has(option))
      throw new TallyError(
        "bad-config",
        `publish has no option ${JSON.stringify(option.slice(0, 64))}; did you mean ${JSON.stringify(nearest(option, [...KNOWN]))}?`,
      );
  }
  const { signal, deadline, cause, native } = options as { readonly [K in keyof PublishOptions]: unknown };
  if (signal !== undefined && signal !== null && !isSignal(signal))
    throw wrong("publish: signal", "an AbortSignal", signal);
  if (deadline !== undefined) milliseconds("publish: deadline", deadline as Duration, 1, 86_400_000);
  if (cause !== undefined && !isCause(cause))
    throw wrong("publish: cause", "what a handler's context has: id, correlationId and headers", cause);
  if (native !== undefined && (!isObject(native) || Array.isArray(native)))
    throw wrong("publish: native", "an object of raw properties", native);
}

function wrong(what: string, expected: string, given: unknown): TallyError {
  return new TallyError("bad-config", `${what} must be ${expected}; got ${showGiven(given)}`);
}

function isObject(v: unknown): v is object {
  return typeof v === "object" && v !== null;
}

/** By what is used of it: those of another realm are signals too. */
function isSignal(v: unknown): v is AbortSignal {
  const s = v as Partial<AbortSignal>;
  return isObject(v) && typeof s.throwIfAborted === "function" && typeof s.addEventListener === "function";
}

function isCause(v: unknown): boolean {
  const { id, correlationId, headers } = (v ?? {}) as { readonly [K in keyof Cause]?: unknown };
  const isId = (given: unknown): boolean => given === null || typeof given === "string";
  return isId(id) && isId(correlationId ?? null) && (headers === undefined || isObject(headers));
}

function keyOf<In>(topic: Topic<In, unknown>, body: In, options: PublishOptions, id: string): string | null {
  if (options.key !== undefined) return name("key", options.key, id);
  if (topic.key === null) return null;
  let key: string;
  try {
    key = topic.key(body);
  } catch (cause) {
    throw new TallyError("bad-message", `the key function of topic ${topic.name} threw for ${id}: ${describe(cause)}`, {
      id,
      cause,
    });
  }
  return name("key", key, id);
}

function name(what: string, given: unknown, id: string | undefined): string {
  if (typeof given !== "string")
    throw new TallyError("bad-message", `${what} must be a string; got ${given === null ? "null" : typeof given}`, {
      id,
    });
  // A UTF-16 unit takes at most three bytes: most names need no counting.
  const fits = given.length > 0 && (given.length * 3 <= MAX_NAME_BYTES || utf8Length(given) <= MAX_NAME_BYTES);
  if (!fits)
    throw new TallyError(
      "bad-message",
      `${what} must have 1 to ${MAX_NAME_BYTES} bytes of UTF-8; got ${utf8Length(given)}`,
      { id },
    );
  if (given.includes("\0") || !given.isWellFormed())
    throw new TallyError("bad-message", `${what} must be well-formed text without NUL`, { id });
  return given;
}

function headersOf(options: PublishOptions, id: string): Readonly<Record<string, string>> {
  const copy: Record<string, string> = Object.create(null) as Record<string, string>;
  // A trace goes on through a message that follows from another; the caller's own headers win.
  const carried = options.cause?.headers;
  if (carried?.["traceparent"] !== undefined) copy["traceparent"] = carried["traceparent"];
  if (carried?.["tracestate"] !== undefined) copy["tracestate"] = carried["tracestate"];
  const given: object = options.headers ?? NO_HEADERS;
  // A text, a list, a Map, a Headers: what they hold is in no property, and would be lost without a word.
  if (!isObject(given) || Symbol.iterator in given)
    throw new TallyError(
      "bad-message",
      `the headers of ${id} must be an object of names and texts; got ${isObject(given) ? "a list or map" : typeof given}`,
      { id },
    );
  let bytes = 0;
  for (const [header, value] of Object.entries(given) as [string, unknown][]) {
    if (typeof value !== "string" || !value.isWellFormed()) {
      throw new TallyError(
        "bad-message",
        `header ${JSON.stringify(header)} of ${id} must be well-formed text; got ${value === null ? "null" : typeof value}`,
        { id },
      );
    }
    if (
      header === "" ||
      header.toLowerCase().startsWith(RESERVED_PREFIX) ||
      !header.isWellFormed() ||
      utf8Length(header) > 128
    ) {
      throw new TallyError(
        "bad-message",
        `${JSON.stringify(header)} is no name for a header: 1 to 128 bytes, not beginning with ${RESERVED_PREFIX}`,
        { id },
      );
    }
    bytes += utf8Length(header) + utf8Length(value);
    copy[header] = value;
  }
  if (bytes > MAX_HEADER_BYTES)
    throw new TallyError(
      "bad-message",
      `the headers of ${id} have ${bytes} bytes; at most ${MAX_HEADER_BYTES} are sent`,
      { id },
    );
  return Object.freeze(copy);
}
