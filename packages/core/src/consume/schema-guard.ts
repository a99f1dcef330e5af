/** So many bodies at the start, all unreadable, are no accident: a consumer with the wrong schema was deployed. */
const FIRST = 20;
/** Of so many bodies the newest verdicts are kept. */
const LAST = 100;
const HALF: number = LAST / 2;

/**
 * What a subscription's schema said of the bodies since it began, or was resumed. `bodies` counts up to {@link LAST};
 * `failed` is how many of the last {@link LAST} failed, and those are the bits of `words`, the newest lowest.
 *
 * It is in one of two states. *Reading*: fewer than half of the last 100 failed, and not all of the first 20. *Tripped*,
 * which no later verdict ends: another sample begins with {@link SAMPLE}.
 */
export interface Sample {
  readonly bodies: number;
  readonly failed: number;
  readonly words: readonly [number, number, number, number];
}

export const SAMPLE: Sample = Object.freeze({ bodies: 0, failed: 0, words: Object.freeze([0, 0, 0, 0] as const) });

/** One more body. All well with a full sample, as nearly always: the same value, so that it costs nothing. */
export function step(sample: Sample, readable: boolean): Sample {
  const { bodies, failed, words } = sample;
  if (tripped(sample) || (readable && failed === 0 && bodies === LAST)) return sample;
  const [a, b, c, d] = words;
  // Bit 99, the oldest, is bit 3 of the highest word.
  const oldest = (d >>> 3) & 1;
  return {
    bodies: Math.min(bodies + 1, LAST),
    failed: failed - oldest + (readable ? 0 : 1),
    words: [(a << 1) | (readable ? 0 : 1), (b << 1) | (a >>> 31), (c << 1) | (b >>> 31), ((d << 1) | (c >>> 31)) & 0xf],
  };
}

/** Fifty of fewer than a hundred will be half of the hundred, whatever comes. */
export function tripped({ bodies, failed }: Sample): boolean {
  return failed >= HALF || (failed === FIRST && bodies === FIRST);
}
