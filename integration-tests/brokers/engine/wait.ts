import { setTimeout as sleep } from "node:timers/promises";

/**
 * Asks until the answer is neither undefined nor false; the last error is the cause when time runs out.
 * @param within milliseconds
 */
export async function until<T>(
  what: string,
  within: number,
  ask: () => Promise<T | undefined | false> | T | undefined | false,
  every = 100,
): Promise<T> {
  const deadline = performance.now() + within;
  let cause: unknown;
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== undefined && answer !== false) return answer;
      cause = undefined;
    } catch (error) {
      cause = error;
    }
    if (performance.now() > deadline) throw new Error(`waited ${within} ms for ${what}`, { cause });
    await sleep(every);
  }
}
