import type { StoreHost } from "@tallymq/core/spi";

/** What core lends a store or an adapter, for a director that opens one by itself. */
export const host: StoreHost = {
  clock: {
    now: () => performance.now(),
    wall: () => Date.now(),
    after(ms, fn) {
      const timer = setTimeout(fn, ms);
      return { cancel: () => clearTimeout(timer) };
    },
  },
  random: { unit: () => Math.random(), bytes: (length) => crypto.getRandomValues(new Uint8Array(length)) },
  surfaced: () => {},
};
