import type { Clock, Timer } from "@tallymq/core/spi";

/** Says when a client has been silent for too long: one that hangs without an error is a dead consumer in a living process. */
export class Watchdog {
  readonly #clock: Clock;
  readonly #limit: number;
  readonly #silent: (ms: number) => void;
  #heard: number;
  #timer: Timer | null = null;

  /** @param limit milliseconds. @param silent once */
  constructor(clock: Clock, limit: number, silent: (ms: number) => void) {
    this.#clock = clock;
    this.#limit = limit;
    this.#silent = silent;
    this.#heard = clock.now();
  }

  heard(): void {
    this.#heard = this.#clock.now();
  }

  start(): void {
    this.#timer = this.#clock.after(this.#limit / 2, () => {
      this.#timer = null;
      const ms = this.#clock.now() - this.#heard;
      if (ms < this.#limit) this.start();
      else this.#silent(ms);
    });
  }

  stop(): void {
    this.#timer?.cancel();
    this.#timer = null;
  }
}
