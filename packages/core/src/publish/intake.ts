import type { Runtime } from "../runtime.ts";
import type { SchemaResult } from "../schema.ts";
import type { Topic } from "../topic.ts";
import type { Own, PublishOptions } from "./options.ts";
import { assertValid } from "./rejections.ts";
import { type Draft, snapshot } from "./snapshot.ts";

/** A call that was taken: its snapshot, and what its schema will say of it; null: it has said yes. */
export interface Taken {
  readonly message: Draft;
  readonly verdict: PromiseLike<SchemaResult<unknown>> | null;
}

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
  options?.signal?.throwIfAborted();
  const message = snapshot(runtime, topic, body, options);
  if (own !== null) Object.assign(message, own);
  const verdict = topic.schema === null ? null : topic.schema["~standard"].validate(body);
  if (verdict === null || isPromise(verdict)) return { message, verdict };
  assertValid(message, verdict);
  return { message, verdict: null };
}

/** As the specification allows: also promises of another realm. */
function isPromise<T>(verdict: object | PromiseLike<T>): verdict is PromiseLike<T> {
  return "then" in verdict && typeof verdict.then === "function";
}
