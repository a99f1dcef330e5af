import type { Timer } from "../clock.ts";
import { TallyError } from "../error.ts";
import type { Runtime } from "../runtime.ts";

/** The end of what may hang: a signal for who obeys it, a rejection for who does not. */
export class TimeLimit {
  readonly #abort: AbortController = new AbortController();
  readonly #from: AbortSignal;
  readonly #timer: Timer;
  readonly #over: PromiseWithResolvers<never> = Promise.withResolvers();
  readonly #stop = (): void => this.#end(this.#from.reason);

  constructor({ clock, connectWithin, transport }: Runtime, from: AbortSignal) {
    this.#from = from;
    this.#over.promise.catch(() => {});
    this.#timer = clock.after(connectWithin, () =>
      this.#end(
        new TallyError("unreachable", `${transport.name}: a declaration had no answer within ${connectWithin} ms`, {
          retryable: true,
        }),
      ),
    );
    if (from.aborted) this.#stop();
    else from.addEventListener("abort", this.#stop, { once: true });
  }

  get signal(): AbortSignal {
    return this.#abort.signal;
  }

  get over(): Promise<never> {
    return this.#over.promise;
  }

  end(): void {
    this.#timer.cancel();
    this.#from.removeEventListener("abort", this.#stop);
  }

  #end(reason: unknown): void {
    this.#over.reject(reason);
    this.#abort.abort(reason);
  }
}
