import type { TallyError } from "../error.ts";
import type { Ran } from "../park/runners.ts";
import type { Settlement } from "../port/receiving.ts";
import type { Job, Source } from "./attempt.ts";
import { AwayKeys } from "./away.ts";
import type { TopicSubscription } from "./subscription.ts";

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
