import type { Source } from "./effects.ts";

/** A broker that clients are compared on. One more broker is one more of these, and a folder of clients. */
export interface ComparedBroker extends AsyncDisposable {
  readonly title: string;
  readonly url: string;
  readonly queueType: "quorum" | "classic" | null;
  /** Its processes that are killed, in turn. */
  readonly parts: readonly string[];
  /** A queue for each, all of the same type; they outlive a kill. */
  declare(queues: readonly string[]): Promise<void>;
  /** kill -9 of one; resolves when it is dead. */
  kill(part: string): Promise<void>;
  /** After `kill()`: at the same address, with the same data; resolves when all of it serves. */
  restart(part: string): Promise<void>;
  /** Copies of each id that the queue holds, read by a client that has nothing to do with those compared; they stay in it. */
  copies(queue: string): Promise<ReadonlyMap<string, number>>;
  /** The queue for an idempotent consumer, which comes by another way than the clients. */
  source(queue: string): Source;
}

/** @throws for a broker that is not here */
export async function startBroker(name: string, progress: (line: string) => void): Promise<ComparedBroker> {
  if (name === "rabbitmq") return await (await import("./rabbitmq/broker.ts")).startRabbitmq(progress);
  if (name === "rocketmq") return await (await import("./rocketmq/broker.ts")).startRocketmq(progress);
  throw new Error(`no broker ${name}`);
}
