import { setTimeout as sleep } from "node:timers/promises";

/** A publisher's part: the orders `first`, `first + step` … below `end`. */
export interface Share {
  readonly first: number;
  readonly step: number;
  readonly end: number;
  /** Messages a second. */
  readonly rate: number;
  /** Calls of `publish()` without an answer, at most: at the bound the publisher waits, as a server would for its caller. */
  readonly window: number;
}

/** Orders come in bursts of about so many, as they do behind a web server: then there are moments with several in flight. */
const BURST = 12;
const LEAST_TICK_MS = 20;
/** Calls in flight under pressure. */
const PRESSED = 6;

export class Pace {
  readonly #share: Share;
  readonly #publish: (n: number) => Promise<void>;
  readonly #sent: () => void;
  readonly #open = new Set<Promise<void>>();
  readonly #numbers: readonly number[];
  #next = 0;
  #pressed = false;
  #held = false;

  /**
   * @param wanted which numbers of the share are to be published
   * @param sent called after a burst of calls, while they are in flight
   */
  constructor(
    share: Share,
    wanted: (n: number) => boolean,
    publish: (n: number) => Promise<void>,
    sent: () => void = () => {},
  ) {
    const { first, step, end } = share;
    const all = Array.from({ length: Math.max(0, Math.ceil((end - first) / step)) }, (_, at) => first + at * step);
    this.#numbers = all.filter(wanted);
    this.#share = share;
    this.#publish = publish;
    this.#sent = sent;
  }

  async run(): Promise<void> {
    const { rate } = this.#share;
    const tick = Math.max(LEAST_TICK_MS, (BURST * 1000) / rate);
    let credit = 0;
    let then = performance.now();
    while (this.#next < this.#numbers.length) {
      await sleep(tick);
      const now = performance.now();
      // What was missed while the window was full is not made up for at once: a few bursts' worth at most.
      credit = Math.min(credit + ((now - then) * rate) / 1000, (3 * tick * rate) / 1000);
      then = now;
      if (this.#held) credit = 0;
      while (credit >= 1 && this.#one()) credit -= 1;
      this.#sent();
    }
    await Promise.all(this.#open);
  }

  /**
   * Under pressure each answer is followed by the next call in the same turn, so that some are in flight at any moment:
   * a broker that answers within two milliseconds is idle most of the time otherwise, and a fault would hit nothing.
   */
  press(hard: boolean): void {
    this.#pressed = hard;
    this.#refill();
    this.#sent();
  }

  /** Nothing new is published; what is in flight goes on. */
  hold(held: boolean): void {
    this.#held = held;
  }

  #refill(): void {
    while (this.#pressed && !this.#held && this.#open.size < PRESSED && this.#one());
  }

  /** False: all are published, or the window is full. */
  #one(): boolean {
    const n = this.#numbers[this.#next];
    if (n === undefined || this.#open.size >= this.#share.window) return false;
    const call = this.#publish(n).finally(() => {
      this.#open.delete(call);
      this.#refill();
    });
    this.#next += 1;
    this.#open.add(call);
    return true;
  }
}
