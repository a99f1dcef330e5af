import type { TallyError } from "../error.ts";
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
