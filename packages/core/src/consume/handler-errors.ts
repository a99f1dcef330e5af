import { describe, TallyError } from "../error.ts";
import type { Job } from "./attempt.ts";

/** Whatever was thrown, as an error of ours: p-retry would not retry a TypeError, nor what is no Error. */
export function handlerFailed(job: Job, thrown: unknown): TallyError<"handler"> {
  return new TallyError("handler", `${nameOf(job)} failed: ${describe(thrown)}`, {
    id: job.id ?? undefined,
    cause: thrown,
  });
}

export function deadlineMissed(job: Job, ms: number): TallyError<"handler-deadline"> {
  return new TallyError("handler-deadline", `${nameOf(job)} did not settle within ${ms} ms`, {
    id: job.id ?? undefined,
  });
}

function nameOf({ subscription }: Job): string {
  return `handler of ${subscription.group} for ${subscription.topic.name}`;
}
