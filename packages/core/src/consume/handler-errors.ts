import { describe, TallyError } from "../error.ts";
import type { Job } from "./attempt.ts";

/** UTF-16 units of what a handler threw that a message shows; the whole of it is the `cause`. */
const MOST_SHOWN = 2_000;

/** Whatever was thrown, as an error of ours: p-retry would not retry a TypeError, nor what is no Error. */
export function handlerFailed(job: Job, thrown: unknown): TallyError<"handler"> {
  const said = describe(thrown);
  const shown =
    said.length <= MOST_SHOWN ? said : `${said.slice(0, MOST_SHOWN).toWellFormed()}… (${said.length} characters)`;
  return new TallyError("handler", `${nameOf(job)} failed: ${shown}`, {
    id: job.id ?? undefined,
    cause: thrown,
  });
}

export function deadlineMissed(job: Job, ms: number): TallyError<"handler-deadline"> {
  return new TallyError("handler-deadline", `${nameOf(job)} did not settle within ${ms} ms`, {
    id: job.id ?? undefined,
  });
}

/** Its type promises a transaction, and there is none without an identity. */
export function noTransaction(job: Job): TallyError<"handler"> {
  return new TallyError(
    "handler",
    `${nameOf(job)} did not run: effect "tx" needs to know the message again, and it has neither an id nor a place that its broker guarantees; give the consumer id, a function of the message`,
  );
}

function nameOf({ subscription }: Job): string {
  return `handler of ${subscription.group} for ${subscription.topic.name}`;
}
