import type { Outgoing, Verdict } from "@tallymq/core/spi";

/** One call of `send`: its copies, and which of them have their verdict. */
export class Batch {
  readonly messages: readonly Outgoing[];
  /** The first copy that has not been handed on yet. */
  next = 0;
  readonly #verdict: (index: number, verdict: Verdict) => void;
  readonly #ended: Uint8Array;
  #open: number;

  constructor(messages: readonly Outgoing[], verdict: (index: number, verdict: Verdict) => void) {
    this.messages = messages;
    this.#verdict = verdict;
    this.#ended = new Uint8Array(messages.length);
    this.#open = messages.length;
  }

  /** Copies without a verdict. */
  get open(): number {
    return this.#open;
  }

  /** Gives one copy its verdict, unless it has one. */
  end(index: number, verdict: Verdict): void {
    if (this.#ended[index] !== 0) return;
    this.#ended[index] = 1;
    this.#open -= 1;
    this.#verdict(index, verdict);
  }

  /** Gives each copy that has none the verdict made for it. */
  endAll(make: (message: Outgoing, index: number) => Verdict): void {
    for (let i = 0; i < this.messages.length && this.#open > 0; i++) {
      if (this.#ended[i] === 0) this.end(i, make(this.messages[i]!, i));
    }
  }
}
