import pRetry from "p-retry";
import { fullJitter } from "../backoff.ts";
import { sleep } from "../clock.ts";
import { describe, TallyError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { Job } from "./attempt.ts";
import type { Lanes } from "./lanes.ts";
import type { ConsumerPolicy, Ruling } from "./options.ts";

// Ends waits inside; nobody outside sees it.
const UNSETTLED: TallyError = new TallyError("closed", "the delivery can no longer be settled here");

export type HandlingError = TallyError<"handler" | "handler-deadline" | "decode" | "schema">;

/** What {@link Failures} asks of who runs the attempts. */
export interface Hands {
  readonly lanes: Lanes<Job>;
  ack(job: Job): void;
  /** Done with, settled or not: its key goes on. */
  end(job: Job): void;
  rested(): void;
}

/**
 * What becomes of deliveries whose first attempt has failed: attempts in place, then a release.
 *
 * p-retry drives them; the first failure is fed into it as its first attempt. Between two attempts, and before a release,
 * a delivery is off the lanes: others run, but none of its key. A lost session, or a close, ends these waits, and the
 * delivery stays unsettled.
 */
export class Failures {
  readonly #group: string;
  readonly #policy: ConsumerPolicy;
  readonly #runtime: Runtime;
  readonly #hands: Hands;
  /** Not settled yet, with what ends their waits. */
  readonly #failing: Map<Job, AbortController> = new Map();
  #closing = false;

  constructor(group: string, policy: ConsumerPolicy, runtime: Runtime, hands: Hands) {
    this.#group = group;
    this.#policy = policy;
    this.#runtime = runtime;
    this.#hands = hands;
  }

  get size(): number {
    return this.#failing.size;
  }

  /** What fails from now on stays unsettled. */
  close(): void {
    this.#closing = true;
  }

  /** Ends the waits of those that are `gone`. One whose handler runs is let finish. */
  abandon(gone: (job: Job) => boolean): void {
    for (const [job, stop] of this.#failing) if (job.running === null && gone(job)) stop.abort(UNSETTLED);
  }

  /** The attempt that this one waits for will not come. */
  forgotten(job: Job): void {
    const { onEnd } = job;
    job.onEnd = null;
    this.#failing.get(job)?.abort(UNSETTLED);
    onEnd?.(UNSETTLED);
  }

  /** Releases a delivery that came while earlier ones of its key are away. */
  turnBack(job: Job, why: TallyError): void {
    job.session.away.left(job.key!, [job.delivery.message], why);
    this.#release(job, 0, why);
  }

  /** The first attempt has failed. */
  add(job: Job, first: HandlingError): void {
    const stop = new AbortController();
    this.#failing.set(job, stop);
    void this.#run(job, first, stop);
  }

  async #run(job: Job, first: HandlingError, stop: AbortController): Promise<void> {
    let ruling: Ruling | null = null;
    let last = first;
    try {
      await pRetry((n) => (n === 1 ? Promise.reject(first) : this.#again(job)), {
        retries: Number.POSITIVE_INFINITY, // the ruling decides, and each wait is at least 1 ms
        minTimeout: 0, // the wait is ours: through the clock, with full jitter
        signal: stop.signal,
        onFailedAttempt: async ({ error }) => {
          last = error as HandlingError;
          ruling = this.#rule(job, last);
          if (ruling?.kind === "retry") ruling = await this.#waitToRetry(job, ruling, stop.signal);
        },
        shouldRetry: () => ruling?.kind === "retry",
      });
    } catch {
      // Decided, or abandoned: then the signal has fired, or there is no ruling. Or acked, and the signal fired since.
      if (ruling !== null && !stop.signal.aborted && this.#failing.has(job))
        await this.#waitToRelease(job, ruling, last, stop.signal).catch(() => {});
      if (this.#failing.delete(job)) this.#hands.end(job);
    }
    this.#hands.rested();
  }

  #again(job: Job): Promise<void> {
    return new Promise((resolve, reject) => {
      job.onEnd = (error) => {
        if (error !== null) return reject(error);
        // At once: p-retry takes some microtasks, and a loss or a close in between must not undo what is done.
        this.#failing.delete(job);
        this.#hands.ack(job);
        resolve();
      };
      this.#hands.lanes.again(job);
    });
  }

  /** What the failed attempt leads to; null if the delivery is no longer ours to decide about. */
  #rule(job: Job, error: HandlingError): Ruling | null {
    const { id, attempts: attempt, subscription, delivery } = job;
    const topic = subscription.topic.name;
    this.#emit({ type: "attempt-failed", topic, group: this.#group, id, attempt, error });
    if (this.#closing || !job.held) return null;
    let ruling: Ruling = { kind: attempt < this.#policy.attempts ? "retry" : "release", afterMs: null };
    if (this.#policy.onError !== null) {
      try {
        ruling = checked(this.#policy.onError(error, { attempt, deliveries: delivery.count, topic, id }));
      } catch (thrown) {
        subscription.surfaced(`onError failed, the delivery is released: ${describe(thrown)}`);
        ruling = { kind: "release", afterMs: null };
      }
    }
    // The same bytes give the same error: another attempt at once is for nothing, a later one may meet a newer consumer.
    const pointless = error.code === "decode" || error.code === "schema";
    // A broker that takes nothing back leaves only this place to try again.
    if (this.#runtime.transport.traits.release === "none")
      return { kind: "retry", afterMs: ruling.afterMs ?? this.#beforeRelease(job) };
    return pointless ? { kind: "release", afterMs: ruling.afterMs } : ruling;
  }

  async #waitToRetry(job: Job, ruling: Ruling, stop: AbortSignal): Promise<Ruling> {
    const { retryMin: min, retryMax: max } = this.#policy;
    const ms = ruling.afterMs ?? fullJitter({ min, max }, job.attempts, this.#runtime.random);
    await sleep(this.#runtime.clock, Math.max(1, ms), stop);
    if (job.late === null) return ruling;
    if (!job.inOrder && this.#runtime.transport.traits.release !== "none") return { kind: "release", afterMs: 0 };
    await this.#lateEnd(job, stop);
    return ruling;
  }

  /** Rejects when it is no longer ours to release. */
  async #waitToRelease(job: Job, { afterMs }: Ruling, why: HandlingError, stop: AbortSignal): Promise<void> {
    const ms = afterMs ?? this.#beforeRelease(job);
    const delayed = this.#runtime.transport.traits.release === "delayed";
    // Its credit is held meanwhile: a broker that has it back at once would send it again at once.
    if (!delayed && ms > 0) await sleep(this.#runtime.clock, ms, stop);
    if (job.inOrder && job.late !== null) await this.#lateEnd(job, stop);
    if (!job.held) return;
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

  #beforeRelease(job: Job): number {
    const { retryMin: min, retryMax: max, attempts } = this.#policy;
    const deliveries = job.delivery.count;
    if (deliveries === null) return fullJitter({ min: max, max }, 1, this.#runtime.random);
    return fullJitter({ min, max }, attempts * deliveries, this.#runtime.random);
  }

  #lateEnd(job: Job, stop: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const onAbort = (): void => {
        job.onLateEnd = null;
        reject(stop.reason);
      };
      if (stop.aborted) return onAbort();
      stop.addEventListener("abort", onAbort, { once: true });
      job.onLateEnd = () => {
        stop.removeEventListener("abort", onAbort);
        resolve();
      };
    });
  }

  #release(job: Job, ms: number, why: TallyError): void {
    const afterMs = this.#runtime.transport.traits.release === "delayed" ? ms : 0;
    job.session.settle({ kind: "release", delivery: job.delivery, afterMs });
    this.#emit({
      type: "released",
      topic: job.subscription.topic.name,
      group: this.#group,
      id: job.id,
      afterMs: ms,
      error: why,
    });
  }

  #emit(event: Parameters<Runtime["events"]["emit"]>[0]): void {
    this.#runtime.events.emit(event);
  }
}

function checked(given: Ruling | null | undefined): Ruling {
  if (given?.kind !== "retry" && given?.kind !== "release")
    throw new TallyError("bad-config", "onError must return retry() or release()");
  const { kind, afterMs } = given;
  return { kind, afterMs: typeof afterMs === "number" && afterMs >= 0 && afterMs < 2 ** 31 ? afterMs : null };
}
