import { type Bounds, type Clock, resolveOptions, TallyError } from "@tallymq/core/spi";
import { parseAddress } from "./address.ts";

/** Options of `memory()`: a broker in this process. */
export interface MemoryOptions {
  /** The destination's name. @default "memory" */
  readonly name?: string;
  /** Messages in one group's queue, settled ones apart, at most; a publish beyond it is nacked. @default no limit */
  readonly maxBacklog?: number;
  /** A message that comes back after so many deliveries goes to the group's dead letters. @default no limit */
  readonly deliveryLimit?: number;
  /** For delays. @default the clock of the first tally that opens it */
  readonly clock?: Clock;
}

/** Options of `memory({ at })`: a broker process. */
export interface MemoryAtOptions {
  /** `"127.0.0.1:4555"`, `"[::1]:4555"`, `"localhost:4555"` or `"unix:/path"`; no other host. */
  readonly at: string;
  /** The destination's name. @default "memory" */
  readonly name?: string;
}

interface Resolved {
  readonly name: string;
  readonly maxBacklog: number;
  readonly deliveryLimit: number;
  readonly clock: Clock | null;
}

interface ResolvedAt {
  readonly name: string;
  readonly at: string;
}

const name: Bounds<Resolved>["name"] = {
  default: "memory",
  read(what, value) {
    if (typeof value === "string" && value.length >= 1 && value.length <= 120) return value;
    throw new TallyError("bad-config", `${what} must be a string of 1 to 120 characters`);
  },
};

const limit: Bounds<Resolved>["maxBacklog"] = {
  default: Number.POSITIVE_INFINITY,
  read(what, value) {
    if (typeof value === "number" && value >= 1 && (Number.isInteger(value) || value === Number.POSITIVE_INFINITY))
      return value;
    throw new TallyError("bad-config", `${what} must be a whole number from 1`);
  },
};

const LIBRARY: Bounds<Resolved> = {
  name,
  maxBacklog: limit,
  deliveryLimit: limit,
  clock: {
    default: null,
    read(what, value) {
      if (typeof value === "object" && value !== null && "after" in value && "now" in value) return value as Clock;
      throw new TallyError("bad-config", `${what} must be a clock, like virtualClock()`);
    },
  },
};

const AT: Bounds<ResolvedAt> = {
  name,
  at: {
    default: "",
    read(what, value) {
      parseAddress(what, value);
      return value as string;
    },
  },
};

export function libraryOptions(given: MemoryOptions): Resolved {
  return resolveOptions("memory", given, LIBRARY);
}

export function atOptions(given: MemoryAtOptions): ResolvedAt {
  return resolveOptions("memory", given, AT);
}
