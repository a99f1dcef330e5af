import { type Duration, LONGEST_TIMER, milliseconds } from "./duration.ts";
import { showGiven, TallyError } from "./error.ts";

/** How one option is read: its default, and what turns a given value into the resolved one or throws `bad-config`. */
export interface Rule<T> {
  readonly default: T;
  read(name: string, value: unknown): T;
}

/** A table of rules, one for each option: the bounds of a set of options stand in one place. */
export type Bounds<T> = { readonly [K in keyof T]-?: Rule<T[K]> };

/** A whole number in [min, max]. */
export function integer(fallback: number, min: number, max: number): Rule<number> {
  return {
    default: fallback,
    read(name, value) {
      if (typeof value === "number" && Number.isInteger(value) && value >= min && value <= max) return value;
      throw bad(name, `a whole number from ${min} to ${max}`, value);
    },
  };
}

/** A {@link Duration}, resolved to milliseconds. */
export function duration(fallback: Duration, min = 1, max: number = LONGEST_TIMER): Rule<number> {
  return {
    default: milliseconds("default", fallback, min, max),
    read: (name, value) => milliseconds(name, value as Duration, min, max),
  };
}

/** One of a few words; the first is the default. */
export function choice<const T extends string>(fallback: T, ...others: readonly T[]): Rule<T> {
  const known: readonly T[] = [fallback, ...others];
  return {
    default: fallback,
    read(name, value) {
      const found = known.find((k) => k === value);
      if (found !== undefined) return found;
      throw bad(name, `one of ${known.map((k) => JSON.stringify(k)).join(", ")}`, value);
    },
  };
}

/** `true` or `false`. */
export function flag(fallback: boolean): Rule<boolean> {
  return {
    default: fallback,
    read(name, value) {
      if (typeof value === "boolean") return value;
      throw bad(name, "true or false", value);
    },
  };
}

/** A string of 1 to `max` bytes of UTF-8 without NUL. */
export function text(fallback: string, max = 255): Rule<string> {
  return {
    default: fallback,
    read(name, value) {
      const expected = `a string of 1 to ${max} bytes`;
      if (typeof value !== "string" || value === "") throw bad(name, expected, value);
      if (value.includes("\0")) throw new TallyError("bad-config", `${name} must be ${expected} without NUL`);
      const bytes = utf8Length(value);
      if (bytes <= max) return value;
      throw new TallyError("bad-config", `${name} must be ${expected}; got ${bytes}`);
    },
  };
}

/** Whatever `is` lets through; `what` names it in the error. */
export function value<T>(fallback: T, what: string, is: (value: unknown) => value is T): Rule<T> {
  return {
    default: fallback,
    read(name, given) {
      if (is(given)) return given;
      throw bad(name, what, given);
    },
  };
}

/**
 * Resolves `given` once, against a table, into a frozen value: defaults filled in, bounds checked, unknown keys refused
 * with the nearest known one. `undefined` counts as not given.
 * @param where Named in errors, like `"openTally"`.
 * @throws TallyError `bad-config`
 */
export function resolveOptions<T extends object>(
  where: string,
  given: object | undefined,
  bounds: Bounds<T>,
): Readonly<T> {
  const options = given ?? {};
  const prototype: unknown = typeof options === "object" ? Object.getPrototypeOf(options) : undefined;
  if (prototype !== Object.prototype && prototype !== null) throw bad(where, "a plain object of options", given);
  const known = Object.keys(bounds) as (keyof T & string)[];
  for (const key of Object.keys(options)) {
    if (!(known as string[]).includes(key)) {
      throw new TallyError(
        "bad-config",
        `${where} has no option ${JSON.stringify(key.slice(0, 64))}; did you mean ${JSON.stringify(nearest(key, known))}?`,
      );
    }
  }
  const resolved: Partial<T> = {};
  for (const key of known) {
    const raw = (options as Record<string, unknown>)[key];
    resolved[key] = raw === undefined ? bounds[key].default : bounds[key].read(`${where}: ${key}`, raw);
  }
  return Object.freeze(resolved as T);
}

/** @throws TallyError `bad-config` when the lower end of a range, in milliseconds, is above its upper end. */
export function assertRange<K extends string>(where: string, of: Readonly<Record<K, number>>, min: K, max: K): void {
  if (of[min] > of[max])
    throw new TallyError("bad-config", `${where}: ${min} (${of[min]} ms) must not exceed ${max} (${of[max]} ms)`);
}

function bad(name: string, expected: string, got: unknown): TallyError {
  return new TallyError("bad-config", `${name} must be ${expected}; got ${showGiven(got)}`);
}

/** The known name that is fewest letters away. */
export function nearest(word: string, known: readonly string[]): string {
  // Long ones are no slips of the finger, and would take long to compare.
  if (word.length > 64) return known[0] ?? "";
  return known.reduce((best, k) => (distance(word, k) < distance(word, best) ? k : best), known[0] ?? "");
}

/** A table by name, each entry of which is read for itself. */
export function table<V>(read: (name: string, value: unknown) => V): Rule<ReadonlyMap<string, V>> {
  return {
    default: new Map(),
    read: (name, given) => new Map(entries(name, given).map(([key, value]) => [key, read(`${name}.${key}`, value)])),
  };
}

/** Of an option that is an object by names. @throws TallyError `bad-config` */
export function entries(name: string, given: unknown): readonly (readonly [string, unknown])[] {
  if (typeof given !== "object" || given === null || Array.isArray(given))
    throw new TallyError("bad-config", `${name} must be an object, by name`);
  if (Object.hasOwn(given, "__proto__")) throw new TallyError("bad-config", `${name} cannot name anything "__proto__"`);
  return Object.entries(given);
}

/** Levenshtein distance, case ignored, row by row. */
function distance(a: string, b: string): number {
  const [x, y] = [a.toLowerCase(), b.toLowerCase()];
  let row = Array.from({ length: y.length + 1 }, (_, j) => j);
  for (let i = 1; i <= x.length; i++) {
    const next = [i];
    for (let j = 1; j <= y.length; j++) {
      const swap = (row[j - 1] ?? 0) + (x[i - 1] === y[j - 1] ? 0 : 1);
      next.push(Math.min(swap, (row[j] ?? 0) + 1, (next[j - 1] ?? 0) + 1));
    }
    row = next;
  }
  return row[y.length] ?? 0;
}

/** Bytes of `text` in UTF-8; a lone surrogate counts 3, as its replacement character does. */
export function utf8Length(text: string): number {
  let bytes = text.length;
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) continue;
    bytes += unit < 0x800 ? 1 : 2;
    // A surrogate pair: two units, four bytes. The first unit has just been counted as 1 + 2, the second as 1.
    if (unit >= 0xd800 && unit < 0xdc00 && text.charCodeAt(i + 1) >>> 10 === 0x37) i++;
  }
  return bytes;
}
