/**
 * Time and randomness enter the policy layer only through these ports, so that every timer can be tested in
 * virtual time and every run repeated from a seed.
 */
export interface Clock {
  /** Monotonic milliseconds from an arbitrary origin; never goes back, never jumps. */
  now(): number;
  /** Wall-clock milliseconds since the epoch; may jump. For moments that outlive the process: in messages, rows and reports. */
  wall(): number;
  /** Runs `fn` once after at least `ms` milliseconds. `ms` is at most 2^31 - 1. Keeps the process alive: who waits for a broker has work left. */
  after(ms: number, fn: () => void): Timer;
}

/** One call that was asked for with {@link Clock.after}. */
export interface Timer {
  /** No-op when the timer has fired or was cancelled. */
  cancel(): void;
}

/** For jitter and ids. */
export interface Random {
  /** Uniform in [0, 1). */
  unit(): number;
  /** `length` unpredictable bytes, for ids. */
  bytes(length: number): Uint8Array;
}

/** Resolves after `ms`; rejects with the signal's reason when aborted before. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(signal.reason);
    const onAbort = (): void => {
      timer.cancel();
      reject(signal?.reason);
    };
    const timer = clock.after(ms, () => {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    });
    signal?.addEventListener("abort", onAbort, { once: true });
  });
}

/** Milliseconds: a close that has used up its time still flushes what it has, and says good-bye. */
const LEAVE_WITHIN = 1_000;

/** The last steps of a close that may take until `until`: {@link atMost} so long, and a second in any case. */
export function leave(clock: Clock, until: number, work: Promise<unknown>): Promise<void> {
  return atMost(clock, Math.max(Math.ceil(until - clock.now()), LEAVE_WITHIN), work);
}

/** Resolves when `work` has settled, however, or after `ms`: for what may hang and must not be waited for longer. */
export function atMost(clock: Clock, ms: number, work: Promise<unknown>): Promise<void> {
  return new Promise((resolve) => {
    const timer = clock.after(ms, resolve);
    void work
      .catch(() => {})
      .then(() => {
        timer.cancel();
        resolve();
      });
  });
}
