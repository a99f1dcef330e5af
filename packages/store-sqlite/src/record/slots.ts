/** As core's FENCE_SLOTS; the worker does not load core. A test holds them equal. */
export const FENCE_SLOTS = 65_536;
