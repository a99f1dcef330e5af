import type { ReceiverEvents } from "@tallymq/core/spi";

/** Who receives, and does nothing at all. */
export const DEAF: ReceiverEvents = Object.freeze({
  deliver: () => {},
  revoking: () => Promise.resolve(),
  revoked: () => {},
  unsettled: () => {},
  gap: () => {},
  lost: () => {},
  surfaced: () => {},
});
