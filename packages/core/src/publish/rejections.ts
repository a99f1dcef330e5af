import { describe, TallyError, textOf } from "../error.ts";
import type { Draft } from "../message.ts";
import { describeIssues, type SchemaResult } from "../schema.ts";

/** @throws TallyError `schema` */
export function assertValid(message: Draft, result: SchemaResult<unknown>): void {
  if (typeof result !== "object" || result === null) throw schemaFailed(message, "it gave no result");
  if (result.issues === undefined) return;
  throw new TallyError(
    "schema",
    `the body of ${message.id} is not what topic ${message.topic} takes: ${describeIssues(result.issues)}`,
    { id: message.id },
  );
}

/** It is at fault, not the body. */
export function schemaFailed({ id, topic }: Draft, thrown: unknown): TallyError {
  if (TallyError.is(thrown)) return rejection(thrown, id, false);
  return new TallyError("bad-message", `the schema of topic ${topic} itself failed for ${id}: ${describe(thrown)}`, {
    id,
    cause: thrown,
  });
}

export function aborted(signal: AbortSignal, id: string | null): TallyError {
  return new TallyError("aborted", "publish() was aborted", { id: id ?? undefined, cause: signal.reason });
}

/** What codecs, key functions and schemas throw: the user's own. */
export function asError(thrown: unknown, id: string | null): TallyError {
  if (TallyError.is(thrown)) return thrown;
  return new TallyError("bad-message", describe(thrown), { id: id ?? undefined, cause: thrown });
}

/** `error` as a caller of message `id` gets it. */
export function rejection(error: TallyError, id: string, mayArrive: boolean): TallyError {
  if (error.id === id && error.mayArrive === mayArrive) return error;
  return new TallyError(error.code, textOf(error), {
    id,
    mayArrive,
    retryable: error.retryable,
    cause: error.cause ?? error,
  });
}

export function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && a.every((byte, i) => byte === b[i]);
}

/** The outbox did not take a message. */
export function unstored(id: string, topic: string, result: "conflict" | "full" | TallyError): TallyError {
  if (TallyError.is(result)) return result;
  if (result === "conflict")
    return new TallyError("conflict", `${id} is in the outbox of ${topic} with another body or key`, { id });
  return new TallyError("store-full", `the outbox is at its bound: ${id} was not stored`, { id, retryable: true });
}
