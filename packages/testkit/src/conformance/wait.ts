import { AssertionError } from "node:assert";

/** Waits on conditions that change only with an event: whoever records one calls `changed`. */
export class Watch {
  readonly #limitMs: number;
  readonly #waiting: Set<() => void> = new Set();

  constructor(limitMs: number) {
    this.#limitMs = limitMs;
  }

  changed(): void {
    for (const check of this.#waiting) check();
  }

  /**
   * Resolves when `holds`.
   * @param got What there is instead, for the error.
   * @throws AssertionError after the limit
   */
  until(expected: string, holds: () => boolean, got: () => unknown): Promise<void> {
    return new Promise((resolve, reject) => {
      const check = (): void => {
        if (!holds()) return;
        end();
        resolve();
      };
      const timer = setTimeout(() => {
        end();
        reject(new AssertionError({ message: `expected ${expected} within ${this.#limitMs} ms; got ${show(got())}` }));
      }, this.#limitMs);
      const end = (): void => {
        clearTimeout(timer);
        this.#waiting.delete(check);
      };
      this.#waiting.add(check);
      check();
    });
  }
}

/** Asks `ask` until its answer satisfies, for what only the broker can tell. */
export async function eventually<T>(
  limitMs: number,
  expected: string,
  ask: () => Promise<T>,
  holds: (answer: T) => boolean,
): Promise<T> {
  const end = performance.now() + limitMs;
  for (;;) {
    const answer = await within(limitMs, expected, ask());
    if (holds(answer)) return answer;
    if (performance.now() > end)
      throw new AssertionError({ message: `expected ${expected} within ${limitMs} ms; got ${show(answer)}` });
    await pause(20);
  }
}

/** Settles as `work` does, or rejects after the limit. */
export function within<T>(limitMs: number, expected: string, work: PromiseLike<T>): Promise<T> {
  const { promise, resolve, reject } = Promise.withResolvers<T>();
  const timer = setTimeout(
    () => reject(new AssertionError({ message: `expected ${expected} within ${limitMs} ms; it is still under way` })),
    limitMs,
  );
  work.then(resolve, reject);
  return promise.finally(() => clearTimeout(timer));
}

/** Where something is expected not to happen, there is nothing to wait for but time. */
export function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

/** Whatever a case threw, as an assertion error: what the broker under test throws where it should not is a failure too. */
export function asFailure(thrown: unknown): AssertionError {
  if (thrown instanceof AssertionError) return thrown;
  const failure = new AssertionError({
    message: `expected no error; got ${thrown instanceof Error ? thrown.message : String(thrown)}`,
  });
  failure.cause = thrown;
  return failure;
}

export function show(value: unknown): string {
  return typeof value === "string"
    ? value
    : JSON.stringify(value, (_, v: unknown) => (typeof v === "bigint" ? `${v}n` : v));
}
