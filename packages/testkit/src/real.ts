import type { Clock, Random } from "@tallymq/core/spi";

/** The machine's own time, for what runs without core: broker processes, and transports and stores that a test opens by itself. */
export const realClock: Clock = {
  now: () => performance.now(),
  wall: () => Date.now(),
  after(ms, fn) {
    const timer = setTimeout(fn, ms);
    return { cancel: () => clearTimeout(timer) };
  },
};

/** The machine's own randomness, for the same. */
export const realRandom: Random = {
  unit: () => Math.random(),
  bytes: (length) => crypto.getRandomValues(new Uint8Array(length)),
};
