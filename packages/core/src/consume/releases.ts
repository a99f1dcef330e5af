import { fullJitter } from "../backoff.ts";
import { sleep } from "../clock.ts";
import type { TallyError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { Job } from "./attempt.ts";
import type { Wait } from "./decide.ts";
import type { Lanes } from "./lanes.ts";
import { lateEnd } from "./late.ts";
import type { ConsumerPolicy } from "./options.ts";

/** What {@link Releases} asks of who runs the attempts. */
export interface ReleaseHands {
  readonly lanes: Lanes<Job>;
  /** Gives its claim back, if it has one. Never rejects. */
  drop(job: Job): Promise<void> | null;
}

/**
 * Deliveries on their way back to the broker.
 *
 * Of an ordered key only what has not failed goes back by itself: what an inbox does not answer for, what another one has
 * the claim of, a dead letter that does not get out; and what a consumer's `onError` rules so. With it goes what is in hand
 * behind it, in order, or it would be overtaken. A head that has failed is parked or blocked instead, see decide.ts.
 */
export class Releases {
  readonly #group: string;
  readonly #policy: ConsumerPolicy;
  readonly #runtime: Runtime;
  readonly #hands: ReleaseHands;

  constructor(group: string, policy: ConsumerPolicy, runtime: Runtime, hands: ReleaseHands) {
    this.#group = group;
    this.#policy = policy;
    this.#runtime = runtime;
    this.#hands = hands;
  }

  /** Releases a delivery that came while earlier ones of its key are away. */
  turnBack(job: Job, why: TallyError): void {
    job.session.away.left(job.key!, [job.delivery.message], why);
    this.#release(job, 0, why);
  }

  /** After its wait. Rejects when it is no longer ours to release. */
  async afterWait(job: Job, { afterMs }: Wait, why: TallyError, stop: AbortSignal): Promise<void> {
    const ms = afterMs ?? this.waitOf(job);
    const delayed = this.#runtime.transport.traits.release === "delayed";
    // Its credit is held meanwhile: a broker that has it back at once would send it again at once.
    if (!delayed && ms > 0) await sleep(this.#runtime.clock, ms, stop);
    if (job.inOrder && job.late !== null) await lateEnd(job, stop);
    // Before the release: the redelivery would find its claim, and wait for the end of the lease.
    const dropped = this.#hands.drop(job);
    if (dropped !== null) await dropped;
    if (!job.held || stop.aborted) return;
    this.#release(job, ms, why);
    if (!job.inOrder) return;
    // What is in hand behind it must not overtake it.
    const behind = this.#hands.lanes.takeBehind(job).filter((next) => next.held);
    for (const next of behind) this.#release(next, ms, why);
    job.session.away.left(
      job.key!,
      [job, ...behind].map(({ delivery }) => delivery.message),
      why,
    );
  }

  /** How long a delivery is kept before it goes back: the longer, the more often it came. */
  waitOf(job: Job): number {
    const { retryMin: min, retryMax: max, attempts } = this.#policy;
    const deliveries = job.delivery.count;
    if (deliveries === null) return fullJitter({ min: max, max }, 1, this.#runtime.random);
    return fullJitter({ min, max }, attempts * deliveries, this.#runtime.random);
  }

  #release(job: Job, ms: number, why: TallyError): void {
    const afterMs = this.#runtime.transport.traits.release === "delayed" ? ms : 0;
    job.session.settle({ kind: "release", delivery: job.delivery, afterMs });
    this.#runtime.events.emit({
      type: "released",
      topic: job.subscription.topic.name,
      group: this.#group,
      id: job.id,
      afterMs: ms,
      error: why,
    });
  }
}
