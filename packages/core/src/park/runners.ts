import { AwayKeys } from "../consume/away.ts";
import type { Job, Source } from "../consume/attempt.ts";
import type { TopicSubscription } from "../consume/subscription.ts";
import type { TallyError } from "../error.ts";
import type { Settlement } from "../port/receiving.ts";
import type { ParkedPlace } from "../stores.ts";

/** How the run of a parked message ended. `gone`: its consumer has closed. */
export type Ran = { readonly is: "done" | "gone" } | { readonly is: "failed"; readonly error: TallyError };

/** A topic of a started consumer, which runs parked messages as it runs deliveries. */
export interface Runner {
  readonly group: string;
  readonly topic: string;
  /** By its claim, with its effect and mark; never rejects. */
  run(message: ParkedPlace): Promise<Ran>;
}

/** The started consumers of one tally that have an inbox. */
export class Runners {
  readonly #runners: Set<Runner> = new Set();

  add(runner: Runner): () => void {
    this.#runners.add(runner);
    return () => void this.#runners.delete(runner);
  }

  find(group: string, topic: string): Runner | null {
    for (const runner of this.#runners) if (runner.group === group && runner.topic === topic) return runner;
    return null;
  }
}

/**
 * Where a replayed message comes from, in place of a receiver session: its ack ends the run. It has a line of its own,
 * not that of its key among the deliveries: one of those may stand at the store's bound, and waits for this one to make
 * room. Nothing of the key runs beside it, since all that comes finds it parked.
 */
export class ReplaySource implements Source {
  readonly subscription: TopicSubscription;
  readonly away: AwayKeys = new AwayKeys(() => 0);
  readonly leaving = false;
  readonly keys: Map<string, Job> = new Map();
  readonly ran: Promise<Ran>;
  readonly #end: (ran: Ran) => void;

  constructor(subscription: TopicSubscription) {
    this.subscription = subscription;
    const { promise, resolve } = Promise.withResolvers<Ran>();
    this.ran = promise;
    this.#end = resolve;
  }

  holds(): boolean {
    return true;
  }

  settle({ kind }: Settlement): void {
    if (kind === "ack") this.#end({ is: "done" });
  }

  /** It failed again: the first end counts. */
  failed(error: TallyError): void {
    this.#end({ is: "failed", error });
  }

  /** Done with, settled or not. */
  gone(): void {
    this.#end({ is: "gone" });
  }
}
