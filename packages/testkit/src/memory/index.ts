import type { Broker } from "@tallymq/core/spi";
import { libraryBroker, type MemoryBroker } from "./library.ts";
import type { MemoryAtOptions, MemoryOptions } from "./options.ts";
import { remoteBroker } from "./remote/transport.ts";

export type { MemoryBroker, QueuedMessage } from "./library.ts";
export type { MemoryAtOptions, MemoryOptions } from "./options.ts";

/**
 * The embedded broker. Without `at` it lives in this process, with a fault script and a view into its queues, and nothing
 * of it outlives the process. With `at` it is a process of its own (`startMemoryBroker`), which keeps what it accepted
 * through a kill -9.
 * @throws TallyError `bad-config`
 */
export function memory(options?: MemoryOptions): MemoryBroker;
export function memory(options: MemoryAtOptions): Broker;
export function memory(options: MemoryOptions | MemoryAtOptions = {}): MemoryBroker | Broker {
  return typeof options === "object" && options !== null && "at" in options
    ? remoteBroker(options)
    : libraryBroker(options);
}
