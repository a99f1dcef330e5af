import { libraryBroker, type MemoryBroker } from "./library.ts";
import type { MemoryOptions } from "./options.ts";

export type { MemoryBroker, QueuedMessage } from "./library.ts";
export type { MemoryOptions } from "./options.ts";

/** A broker in this process. Nothing of it outlives the process. */
export function memory(options: MemoryOptions = {}): MemoryBroker {
  return libraryBroker(options);
}
