/**
 * The closed set of things that can go wrong. A code is part of the public contract: new ones may
 * come with a minor version, none changes its meaning.
 *
 * | code | what happened |
 * |---|---|
 * | `bad-config` | an option is unknown, out of bounds or contradicts another |
 * | `bad-message` | body, id, key or header cannot be sent as given |
 * | `schema` | the body does not satisfy the topic's schema |
 * | `too-large` | the encoded body is larger than its topic or the broker takes |
 * | `conflict` | the id is in flight, or stored, with another body or key |
 * | `closed` | the tally (or consumer) is closed or closing |
 * | `aborted` | the caller's signal fired |
 * | `deadline` | the publish deadline passed without a verdict |
 * | `unroutable` | the broker has nowhere to put the message |
 * | `refused` | the broker will not take the message as it is |
 * | `later` | the broker did not store the message now and may do so later (nack, flow control) |
 * | `unsent` | the copy never left this process |
 * | `in-doubt` | the copy left, and no verdict came |
 * | `session-lost` | the session to the broker ended |
 * | `unreachable` | no session to the broker could be opened |
 * | `unauthorized` | the broker does not accept the credentials or the certificate |
 * | `topology` | what exists on the broker contradicts what was asked for |
 * | `unsupported` | this broker cannot do what was asked for; never weakened silently |
 * | `decode` | a received body cannot be read |
 * | `store` | a store cannot be opened, read or written |
 * | `store-full` | the outbox is at its bound |
 * | `unsafe` | the audit found what `durability: "enforce"` refuses |
 * | `fenced` | a claim ran out and somebody else has it |
 * | `handler` | a handler threw; `cause` is what it threw |
 * | `handler-deadline` | a handler did not settle within the processing deadline |
 */
export type ErrorCode =
  | "bad-config"
  | "bad-message"
  | "schema"
  | "too-large"
  | "conflict"
  | "closed"
  | "aborted"
  | "deadline"
  | "unroutable"
  | "refused"
  | "later"
  | "unsent"
  | "in-doubt"
  | "session-lost"
  | "unreachable"
  | "unauthorized"
  | "topology"
  | "unsupported"
  | "decode"
  | "store"
  | "store-full"
  | "unsafe"
  | "fenced"
  | "handler"
  | "handler-deadline";

/** What a {@link TallyError} says beside code and message. */
export interface TallyErrorOptions {
  /** Id of the message concerned, if there is one. */
  readonly id?: string | undefined;
  /** @default false */
  readonly mayArrive?: boolean | undefined;
  /** @default false */
  readonly retryable?: boolean | undefined;
  readonly cause?: unknown;
}

// Two copies of core can be installed side by side: `instanceof` fails across them, a registered symbol does not.
const BRAND: unique symbol = Symbol.for("tally.error") as never;

/**
 * The one error class of Tally.
 *
 * - `code`: see {@link ErrorCode}; the message starts with it in brackets. It is one line: control characters are escaped.
 * - `mayArrive`: true if a copy of the message may still take effect. False means: definitely not.
 * - `retryable`: the same call may succeed later, unchanged.
 */
export class TallyError<Code extends ErrorCode = ErrorCode> extends Error {
  override readonly name: string = "TallyError";
  readonly code: Code;
  readonly id: string | null;
  readonly mayArrive: boolean;
  readonly retryable: boolean;

  constructor(code: Code, message: string, options: TallyErrorOptions = {}) {
    super(`[${code}] ${oneLine(message)}`, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.id = options.id ?? null;
    this.mayArrive = options.mayArrive ?? false;
    this.retryable = options.retryable ?? false;
    Object.defineProperty(this, BRAND, { value: true });
  }

  /** True for every TallyError, also one made by another installed copy of core. */
  static is(value: unknown): value is TallyError {
    return typeof value === "object" && value !== null && (value as { [BRAND]?: unknown })[BRAND] === true;
  }
}

/**
 * One line, whatever is in it. Ids, headers and what handlers throw come from others: a line break in one of them must not
 * begin a line of its own in somebody's log.
 */
export function oneLine(text: string): string {
  return text.replace(/[\p{Cc}\u2028\u2029]/gu, (c) =>
    c === "\n" ? "\\n" : c === "\r" ? "\\r" : `\\u${c.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** What an error says, without the code that its message begins with: for another error that says it again. */
export function textOf({ code, message }: TallyError): string {
  const begins = `[${code}] `;
  return message.startsWith(begins) ? message.slice(begins.length) : message;
}

/** A short, safe description of any thrown value: handlers throw strings, undefined and frozen objects too. */
export function describe(thrown: unknown): string {
  try {
    if (thrown instanceof Error) return thrown.message;
    return typeof thrown === "string" ? thrown : String(thrown);
  } catch {
    return "a value that cannot be shown";
  }
}

/** A wrong option, as its refusal shows it. It may be a secret in a wrong place: only what cannot be one is shown. */
export function showGiven(given: unknown): string {
  if (typeof given === "number" || typeof given === "boolean" || given === null || given === undefined)
    return String(given);
  if (typeof given === "string")
    return given.length <= 24 && /^[\w .-]*$/.test(given)
      ? JSON.stringify(given)
      : `a string of ${given.length} characters`;
  if (Array.isArray(given)) return `an array of ${given.length}`;
  return typeof given === "object" ? "an object" : `a ${typeof given}`;
}
