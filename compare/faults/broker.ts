/** A broker that clients are compared on. One more broker is one more of these, and a folder of clients. */
export interface ComparedBroker extends AsyncDisposable {
  readonly title: string;
  readonly url: string;
  readonly queueType: "quorum" | "classic";
  /** A queue for each, all of the same type; they outlive a kill. */
  declare(queues: readonly string[]): Promise<void>;
  /** kill -9 of its process; resolves when it is dead. */
  kill(): Promise<void>;
  /** After `kill()`: at the same address, with the same data; resolves when it serves. */
  restart(): Promise<void>;
  /** Another way to it, on which all connections can be broken at once while the broker lives on. */
  readonly detour: { readonly url: string; cut(): void };
  /** Messages of the queue that nobody holds. */
  ready(queue: string): Promise<number>;
  /** Copies of each id that the queue holds, read by a client that has nothing to do with those compared; they stay in it. */
  copies(queue: string): Promise<ReadonlyMap<string, number>>;
}

/** @throws for a broker that is not here */
export async function startBroker(name: string, progress: (line: string) => void): Promise<ComparedBroker> {
  if (name === "rabbitmq") return await (await import("./rabbitmq/broker.ts")).startRabbitmq(progress);
  throw new Error(`no broker ${name}`);
}
