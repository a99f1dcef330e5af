import type { Clock } from "@tallymq/core/spi";

/** The machine's own time, for what runs without core: broker processes, and transports that a case opens by itself. */
export const realClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after(ms, fn) {
    const timer = setTimeout(fn, ms);
    return { cancel: () => clearTimeout(timer) };
  },
};
