import { type Codec, json } from "./codec.ts";
import { type Compression, COMPRESSION_BOUNDS, type Encoding } from "./compress/options.ts";
import type { Duration } from "./duration.ts";
import { TallyError } from "./error.ts";
import type { OutboxMode } from "./outbox/options.ts";
import { choice, duration, flag, integer, resolveOptions, type Rule, text, utf8Length, value } from "./policy.ts";
import type { InputOf, OutputOf, StandardSchema } from "./schema.ts";
import type { TopicPlan } from "./port/topic-plan.ts";

/** Options of {@link topic}; beside them `schema`, a Standard Schema. */
export interface TopicOptions<In> {
  /** How bodies become bytes. @default json */
  readonly codec?: Codec<In>;
  /** The key of a body: messages of one key share a lane. @default none */
  readonly key?: (body: In) => string;
  /** Whether messages of a key take effect in the order of `publish()`. Needs `key`. @default false */
  readonly ordered?: boolean;
  /** Groups whose copy must exist before anything is published, so that no message goes where nobody listens. @default [] */
  readonly groups?: readonly string[];
  /** Name of the kind of message, written on the wire for receivers of other make. @default the topic's name */
  readonly type?: string;
  /**
   * With an outbox: `fallback` sends first and stores while the broker cannot be reached, `always` stores first, `off` never
   * stores. @default "fallback"
   */
  readonly outbox?: OutboxMode;
  /**
   * Largest body in bytes; a larger one is rejected at `publish()` (`too-large`) and cannot be read by a consumer (`decode`).
   * What a consumer holds is bounded by it: a topic that says no more than it needs gets more credit.
   * @default what the broker takes (`traits.maxBytes`)
   */
  readonly maxBytes?: number;
  /**
   * How bodies are compressed on their way, under the standard `content-encoding`: any client reads them, and consumers of
   * any topic read `gzip`, `zstd`, `deflate` and `br`. What does not get smaller goes as it is. A body may then be as large
   * as `maxInflatedBytes`, if what is sent of it is not more than the broker takes. @default none
   */
  readonly compress?: Encoding;
  /** Smallest body, in bytes, that is compressed. @default 1024 */
  readonly compressFrom?: number;
  /**
   * Most bytes that a compressed body may become at a consumer, which stops there: it cannot be read (`decode`).
   * @default `maxBytes`, or 16 MiB
   */
  readonly maxInflatedBytes?: number;
  /**
   * How long the inboxes of its consumers remember an id. A row that may have been sent before and is older than this is
   * parked for a person, not sent: a second copy might have a second effect. Shorter than the shortest `keepFor` of
   * these inboxes, by what their consumers' attempts can take. 1 minute to 400 days. @default "7d"
   */
  readonly dedupeFor?: Duration;
}

/** What flows under one name. Made by {@link topic}; a plain frozen value, without a connection. */
export interface Topic<In, Out = In> extends TopicPlan, Compression {
  /** As written on the wire. */
  readonly type: string;
  // `In` only where bodies go in: so each topic is also a Topic<never, Out>, which is what a consumer asks for.
  readonly codec: Codec<In, unknown>;
  readonly schema: StandardSchema<unknown, Out> | null;
  readonly key: ((body: In) => string) | null;
  readonly outbox: OutboxMode;
  /** Milliseconds. */
  readonly dedupeFor: number;
  /** Null: what the broker takes. */
  readonly maxBytes: number | null;
}

interface Resolved extends Compression {
  readonly schema: StandardSchema | null;
  readonly codec: Codec<never>;
  readonly key: ((body: never) => string) | null;
  readonly ordered: boolean;
  readonly groups: readonly string[];
  readonly type: string;
  readonly outbox: OutboxMode;
  readonly dedupeFor: number;
  readonly maxBytes: number | null;
}

const maxBytes: Rule<number | null> = { default: null, read: integer(1, 1, 2 ** 31 - 1).read };

/**
 * Describes a topic. With a schema (Standard Schema: zod, valibot, arktype …) bodies are validated on both ends; the
 * wire carries the schema's input, handlers get its output. Without one, the type parameter is a promise that nobody checks.
 * @param name 1–255 bytes of UTF-8; what it becomes on the broker is the adapter's (RabbitMQ: an exchange).
 * @throws TallyError `bad-config`
 */
export function topic<S extends StandardSchema>(
  name: string,
  options: TopicOptions<InputOf<S>> & { readonly schema: S },
): Topic<InputOf<S>, OutputOf<S>>;
export function topic<T = unknown>(name: string, options?: TopicOptions<T>): Topic<T>;
export function topic(name: string, options: object = {}): unknown {
  const where = "topic";
  text("").read(where, name);
  const o = resolveOptions<Resolved>(`${where} ${JSON.stringify(name)}`, options, {
    schema: value(null, "a Standard Schema (zod, valibot, arktype …)", isSchema),
    codec: value(json as Codec<never>, "a codec", isCodec),
    key: value(null, "a function from body to key", (v): v is (body: never) => string => typeof v === "function"),
    ordered: flag(false),
    groups: value([] as readonly string[], "a list of group names, each of 1 to 120 bytes", isNames),
    type: text(name),
    outbox: choice<OutboxMode>("fallback", "always", "off"),
    maxBytes,
    ...COMPRESSION_BOUNDS,
    dedupeFor: duration("7d", 60_000, 400 * 86_400_000),
  });
  if (o.ordered && o.key === null) {
    throw new TallyError(
      "bad-config",
      `topic ${JSON.stringify(name)}: ordered needs key, the function from body to key`,
    );
  }
  return Object.freeze({ ...o, name, groups: Object.freeze([...o.groups]) });
}

/** What {@link topic} makes, or a copy of it; by its looks, since two copies of core can be installed side by side. */
export function isTopic(v: unknown): v is Topic<never, unknown> {
  const t = v as Partial<Topic<never, unknown>> | null;
  return (
    typeof t === "object" && t !== null && typeof t.name === "string" && isCodec(t.codec) && Array.isArray(t.groups)
  );
}

function isSchema(v: unknown): v is StandardSchema {
  return (
    (typeof v === "object" || typeof v === "function") &&
    v !== null &&
    (v as { "~standard"?: { version?: unknown } })["~standard"]?.version === 1
  );
}

function isCodec(v: unknown): v is Codec<never> {
  const c = v as Partial<Codec<never>> | null;
  return (
    typeof c === "object" &&
    c !== null &&
    typeof c.encode === "function" &&
    typeof c.decode === "function" &&
    typeof c.contentType === "string"
  );
}

/** As `consumer()` takes it: nobody could be a member of any other. */
function isName(v: unknown): boolean {
  return typeof v === "string" && v !== "" && !v.includes("\0") && utf8Length(v) <= 120;
}

function isNames(v: unknown): v is readonly string[] {
  return Array.isArray(v) && v.every(isName);
}
