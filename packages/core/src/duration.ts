import { showGiven, TallyError } from "./error.ts";

/** Milliseconds, or a number with a unit: `"250ms"`, `"10s"`, `"5m"`, `"2h"`, `"7d"`. */
export type Duration = number | `${number}${"ms" | "s" | "m" | "h" | "d"}`;

const UNIT: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const FORM = /^(\d+(?:\.\d+)?)(ms|s|m|h|d)$/;

/** Node fires a timer of 2^31 ms or more after 1 ms: what is longer is refused where it is written, not where it fires. */
export const LONGEST_TIMER: number = 2 ** 31 - 1;

/**
 * A duration in milliseconds.
 * @throws TallyError `bad-config` when it has no known unit, is not finite, or lies outside [min, max].
 */
export function milliseconds(name: string, value: Duration, min = 1, max: number = LONGEST_TIMER): number {
  const ms = typeof value === "number" ? value : parse(value);
  if (!(ms >= min && ms <= max)) {
    throw new TallyError(
      "bad-config",
      `${name} must be a duration from ${min} ms to ${max} ms, as milliseconds or like "250ms", "10s", "5m", "2h", "7d"; got ${showGiven(value)}`,
    );
  }
  return ms;
}

function parse(text: unknown): number {
  const parts = typeof text === "string" ? FORM.exec(text) : null;
  return parts === null ? Number.NaN : Number(parts[1]) * (UNIT[parts[2] ?? ""] ?? Number.NaN);
}
