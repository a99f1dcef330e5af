import type { StoreHost } from "@tallymq/core/spi";
import { realClock, realRandom } from "@tallymq/testkit";

/** What core lends a store or an adapter, for a director that opens one by itself. */
export const host: StoreHost = {
  clock: realClock,
  random: realRandom,
  surfaced: () => {},
};
