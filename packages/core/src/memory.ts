import { TallyError } from "./error.ts";
import type { Events, MemoryPart } from "./events.ts";

/**
 * What one subscription may have in hand, in bytes of bodies, if nobody says otherwise: its credit follows from that and
 * the topic's largest body. A topic that takes what the broker takes (16 MiB) is asked for few messages at a time.
 */
const SUBSCRIPTION_BYTES = 256 * 1024 * 1024;

const LEAST_CREDIT = 32;

/**
 * Deliveries without a settlement: what the bytes allow, but never so few that lanes would wait for the network, or that
 * some deliveries which are held back keep all others away (a schema that is wrong shows after 20), and no more than
 * anybody profits from.
 */
export function creditFor(lanes: number, largest: number): number {
  const byBytes = Math.floor(SUBSCRIPTION_BYTES / largest);
  return Math.min(Math.max(byBytes, 2 * lanes, LEAST_CREDIT), Math.max(100, 4 * lanes));
}

/** The largest body of a topic on this broker. */
export function largestOf(topic: { readonly maxBytes: number | null }, traits: { readonly maxBytes: number }): number {
  return Math.min(topic.maxBytes ?? traits.maxBytes, traits.maxBytes);
}

/** The bound on what one tally holds of messages: a sum over options, made before anything is held. */
export class MemoryBound {
  readonly #events: Events;
  readonly #max: number | null;
  readonly #parts: Set<MemoryPart> = new Set();

  /** @param max `openTally({ memory: { max } })`; null: any sum will do. */
  constructor(events: Events, max: number | null) {
    this.#events = events;
    this.#max = max;
  }

  /**
   * Counts these in, and says the new sum. Returns what counts them out again.
   * @throws TallyError `bad-config` with all parts when the sum is above the bound; none of these is counted in then.
   */
  add(where: string, parts: readonly MemoryPart[]): () => void {
    const all = [...this.#parts, ...parts];
    const bytes = all.reduce((sum, part) => sum + part.bytes, 0);
    if (this.#max !== null && bytes > this.#max)
      throw new TallyError(
        "bad-config",
        `${where}: up to ${size(bytes)} of messages would be held, and memory.max is ${size(this.#max)}: ${all
          .map((part) => `${part.what} ${size(part.bytes)}`)
          .join(" + ")}. Give topics a maxBytes, consumers less credit, or publish.windowBytes less`,
      );
    for (const part of parts) this.#parts.add(part);
    this.#events.emit({ type: "memory-bound", bytes, parts: all });
    return () => {
      for (const part of parts) this.#parts.delete(part);
    };
  }
}

function size(bytes: number): string {
  return bytes >= 1024 * 1024 ? `${Math.round((bytes / 1024 / 1024) * 10) / 10} MiB` : `${bytes} bytes`;
}
