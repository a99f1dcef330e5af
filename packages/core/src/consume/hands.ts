import type { Death } from "../dead-letters/letter.ts";
import type { Job } from "./attempt.ts";
import type { Ways } from "./decide.ts";
import type { Delays } from "./delays.ts";
import type { Lanes } from "./lanes.ts";

/** What `Failures` asks of who runs the attempts. */
export interface Hands {
  readonly lanes: Lanes<Job>;
  readonly delays: Delays;
  /** Its handler has returned. */
  done(job: Job): void;
  ack(job: Job): void;
  /** Done with, settled or not: its key goes on. */
  end(job: Job): void;
  rested(): void;
  /** Gives it up, durably: resolves when its dead letter is with the broker. */
  bury(job: Job, death: Death): Promise<void>;
  /** Whether its key can be parked with it. */
  parks(job: Job): boolean;
  /** Parks it, durably. @throws TallyError `fenced`, `store` */
  park(job: Job, reason: string): Promise<"parked" | "full" | "conflict">;
  /** Gives its claim back, if it has one. Never rejects. */
  drop(job: Job): Promise<void> | null;
}

/** What can become of this delivery when its attempts are used up. */
export function waysOf(job: Job, hands: Pick<Hands, "delays" | "parks">): Ways {
  if (job.inOrder) return { way: hands.parks(job) ? "park" : "block", longestDelay: 0 };
  const longestDelay = hands.delays.longest(job);
  return { way: longestDelay > 0 ? "delay" : "release", longestDelay };
}
