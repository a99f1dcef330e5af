import type { Job } from "./attempt.ts";

/** Resolves when the attempt of this job that missed its deadline has come to its end; rejects with the signal. */
export function lateEnd(job: Job, stop: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      job.onLateEnd = null;
      reject(stop.reason as Error);
    };
    if (stop.aborted) return onAbort();
    stop.addEventListener("abort", onAbort, { once: true });
    job.onLateEnd = () => {
      stop.removeEventListener("abort", onAbort);
      resolve();
    };
  });
}
