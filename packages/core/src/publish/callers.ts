import { TallyError } from "../error.ts";
import type { Proof } from "../port/sending.ts";
import type { Entry } from "./entry.ts";
import type { Receipt } from "./options.ts";

// Taken from the executor in the same call: a closure for each promise would be one allocation more for each message.
let resolveNew!: (receipt: Receipt) => void;
let rejectNew!: (error: TallyError) => void;
const executor = (resolve: (receipt: Receipt) => void, reject: (error: TallyError) => void): void => {
  resolveNew = resolve;
  rejectNew = reject;
};

/** One call of `publish()` that waits. A message has one, more when its id was published again meanwhile, or none any more. */
export class Caller {
  readonly entry: Entry;
  /** Monotonic: when it gives up. */
  readonly deadlineAt: number;
  signal: AbortSignal | null;
  readonly promise: Promise<Receipt>;
  readonly #resolve: (receipt: Receipt) => void;
  readonly #reject: (error: TallyError) => void;

  constructor(entry: Entry, deadlineAt: number, signal: AbortSignal | null) {
    this.entry = entry;
    this.deadlineAt = deadlineAt;
    this.signal = signal;
    this.promise = new Promise(executor);
    this.#resolve = resolveNew;
    this.#reject = rejectNew;
  }

  accept(proof: Proof, state: Receipt["state"]): void {
    this.#resolve({ id: this.entry.message.id, state, proof });
  }

  reject(error: TallyError): void {
    this.#reject(error);
  }
}

/**
 * Who obeys which signal; one listener for each signal, however many callers share it. An EventTarget looks through all
 * its listeners at each addition and removal, and warns at eleven: a service's one shutdown signal, given to every
 * publish, would cost time in the square of the window.
 */
export class Signals {
  readonly #fired: (caller: Caller, signal: AbortSignal) => void;
  readonly #waiting: Map<AbortSignal, { readonly callers: Set<Caller>; readonly listener: () => void }> = new Map();

  constructor(fired: (caller: Caller, signal: AbortSignal) => void) {
    this.#fired = fired;
  }

  /** Tells of `caller` when its signal fires. */
  add(caller: Caller): void {
    const { signal } = caller;
    if (signal === null) return;
    let at = this.#waiting.get(signal);
    if (at === undefined) {
      const callers = new Set<Caller>();
      const listener = (): void => {
        this.#waiting.delete(signal);
        // Who has been answered meanwhile has let go of the signal.
        for (const one of callers) if (one.signal === signal) this.#fired(one, signal);
      };
      signal.addEventListener("abort", listener, { once: true });
      this.#waiting.set(signal, (at = { callers, listener }));
    }
    at.callers.add(caller);
  }

  /** `caller` has its answer. */
  remove(caller: Caller): void {
    const { signal } = caller;
    if (signal === null) return;
    caller.signal = null;
    const at = this.#waiting.get(signal);
    if (at === undefined || !at.callers.delete(caller) || at.callers.size > 0) return;
    this.#waiting.delete(signal);
    signal.removeEventListener("abort", at.listener);
  }
}
