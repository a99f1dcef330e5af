import { compressed } from "../compress/compress.ts";
import { bodyHash } from "../hash.ts";
import type { Draft } from "../message.ts";
import type { Runtime } from "../runtime.ts";
import type { SchemaResult, StandardSchema } from "../schema.ts";
import type { Topic } from "../topic.ts";
import type { Own, PublishOptions } from "./options.ts";
import { assertValid, schemaFailed } from "./rejections.ts";
import { checkOptions, snapshot } from "./snapshot.ts";

/** A call that was taken: its snapshot, and what its schema will say of it; null: it has said yes. */
export interface Taken {
  readonly message: Draft;
  readonly verdict: PromiseLike<SchemaResult<unknown>> | null;
  /** Of the body as it was given, where it is being compressed off the loop: until then, nobody can compare its bytes. */
  readonly given: bigint | null;
}

const VALID: SchemaResult<unknown> = Object.freeze({ value: undefined });

/**
 * Checks, encodes and validates a call, before anything else happens.
 * @param own What core's own messages say of themselves.
 * @throws TallyError `bad-message`, `too-large`, `bad-config`, `schema`; the signal's reason
 */
export function take<In>(
  runtime: Runtime,
  topic: Topic<In, unknown>,
  body: In,
  options: PublishOptions | undefined,
  own: Own | null = null,
): Taken {
  if (options !== undefined) {
    checkOptions(options);
    options.signal?.throwIfAborted();
  }
  const message = snapshot(runtime, topic, body, options);
  const verdict = topic.schema === null ? null : validate(topic.schema, body, message);
  const later = verdict !== null && isPromise(verdict) ? verdict : null;
  if (verdict !== null && !isPromise(verdict)) assertValid(message, verdict);
  if (own !== null) {
    // What core passes on is as it came.
    Object.assign(message, own);
    return { message, verdict: later, given: null };
  }
  const plain = message.body;
  const compressing = compressed(message, topic, runtime.transport.traits);
  if (compressing === null) return { message, verdict: later, given: null };
  const both = compressing.then(() => later ?? VALID);
  // Nobody may come to wait for these: the call can still be refused.
  both.catch(() => {});
  later?.then(undefined, () => {});
  return { message, verdict: both, given: bodyHash(plain) };
}

/** @throws TallyError `bad-message`, or rejects with it, when the schema itself fails */
function validate(
  schema: StandardSchema,
  body: unknown,
  message: Draft,
): SchemaResult<unknown> | PromiseLike<SchemaResult<unknown>> {
  const failed = (thrown: unknown): never => {
    throw schemaFailed(message, thrown);
  };
  try {
    const verdict = schema["~standard"].validate(body);
    return isPromise(verdict) ? verdict.then(undefined, failed) : verdict;
  } catch (thrown) {
    return failed(thrown);
  }
}

/** As the specification allows: also promises of another realm. */
function isPromise<T>(verdict: T | PromiseLike<T>): verdict is PromiseLike<T> {
  return typeof verdict === "object" && verdict !== null && "then" in verdict && typeof verdict.then === "function";
}
