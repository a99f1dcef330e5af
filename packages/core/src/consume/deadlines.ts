import type { Clock, Timer } from "../clock.ts";
import type { Attempt } from "./attempt.ts";

/**
 * The attempts under way, oldest first. All have the same time limit, so the list in order of their start is also the one
 * in order of their deadlines, and one timer for its head does for all: a timer for each handler would cost more than
 * most handlers.
 */
export class Deadlines {
  readonly #clock: Clock;
  readonly #within: number;
  readonly #expired: (attempt: Attempt) => void;
  #oldest: Attempt | null = null;
  #newest: Attempt | null = null;
  #timer: Timer | null = null;

  constructor(clock: Clock, within: number, expired: (attempt: Attempt) => void) {
    this.#clock = clock;
    this.#within = within;
    this.#expired = expired;
  }

  add(attempt: Attempt): void {
    attempt.startedAt = this.#clock.now();
    attempt.listed = true;
    attempt.previous = this.#newest;
    if (this.#newest === null) this.#oldest = attempt;
    else this.#newest.next = attempt;
    this.#newest = attempt;
    // An armed timer stays when its attempt ends: it finds out at its time whose turn it is then.
    if (this.#timer === null) this.#arm(this.#within);
  }

  remove(attempt: Attempt): void {
    if (!attempt.listed) return;
    attempt.listed = false;
    if (attempt.previous === null) this.#oldest = attempt.next;
    else attempt.previous.next = attempt.next;
    if (attempt.next === null) this.#newest = attempt.previous;
    else attempt.next.previous = attempt.previous;
    attempt.previous = attempt.next = null;
  }

  /** Those under way; what happens to them meanwhile does not disturb it. */
  all(): Attempt[] {
    const found: Attempt[] = [];
    for (let attempt = this.#oldest; attempt !== null; attempt = attempt.next) found.push(attempt);
    return found;
  }

  /** Nothing expires any more. */
  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }

  #arm(ms: number): void {
    this.#timer = this.#clock.after(ms, () => this.#scan());
  }

  #scan(): void {
    this.#timer = null;
    while (this.#oldest !== null) {
      const attempt = this.#oldest;
      const left = attempt.startedAt + this.#within - this.#clock.now();
      if (left > 0) {
        // `expired` may have added an attempt, and armed for that one.
        this.stop();
        this.#arm(left);
        return;
      }
      this.remove(attempt);
      this.#expired(attempt);
    }
  }
}
