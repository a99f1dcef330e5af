/**
 * Settles with `work`, or rejects with the signal's reason when that fires first. Calls of drivers cannot be
 * cancelled; what one gives after nobody waits for it goes to `late`.
 */
export function raced<T>(work: Promise<T>, signal: AbortSignal, late?: (given: T) => void): Promise<T> {
  return new Promise((resolve, reject) => {
    let over = false;
    const onAbort = (): void => {
      over = true;
      reject(signal.reason);
    };
    if (signal.aborted) onAbort();
    else signal.addEventListener("abort", onAbort, { once: true });
    work.then(
      (given) => {
        signal.removeEventListener("abort", onAbort);
        if (over) late?.(given);
        else resolve(given);
      },
      (error: unknown) => {
        signal.removeEventListener("abort", onAbort);
        reject(error);
      },
    );
  });
}
