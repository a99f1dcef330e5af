import pRetry from "p-retry";
import { fullJitter } from "../backoff.ts";
import { sleep } from "../clock.ts";
import type { Death } from "../dead-letters/letter.ts";
import { LONGEST_TIMER } from "../duration.ts";
import { describe, TallyError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { Job } from "./attempt.ts";
import type { Lanes } from "./lanes.ts";
import { decide, type HandlingError, isNotItsOwn, RELEASE, type Wait } from "./decide.ts";
import type { ConsumerPolicy, Ruling } from "./options.ts";

// Ends waits inside; nobody outside sees it.
const UNSETTLED: TallyError = new TallyError("closed", "the delivery can no longer be settled here");

/** What {@link Failures} asks of who runs the attempts. */
export interface Hands {
  readonly lanes: Lanes<Job>;
  /** Its handler has returned. */
  done(job: Job): void;
  ack(job: Job): void;
  /** Done with, settled or not: its key goes on. */
  end(job: Job): void;
  rested(): void;
  /** Gives it up, durably: resolves when its dead letter is with the broker. */
  bury(job: Job, death: Death): Promise<void>;
  /** Gives its claim back, if it has one. Never rejects. */
  drop(job: Job): Promise<void> | null;
}

/**
 * What becomes of deliveries whose first attempt has failed: attempts in place, then a release or a dead letter. And of
 * those that an inbox holds up: what it does not answer for is released, a claim of somebody else is waited for.
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

  some(which: (job: Job) => boolean = () => true): boolean {
    return [...this.#failing.keys()].some(which);
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
  add(job: Job, first: TallyError): void {
    const stop = new AbortController();
    this.#failing.set(job, stop);
    void this.#run(job, first, stop);
  }

  /**
   * Somebody else is at it: in hand, off the lanes, and asked again after `ms`, or when the function given back is called.
   * Its key waits.
   */
  hold(job: Job, ms: number): () => void {
    const stop = new AbortController();
    this.#failing.set(job, stop);
    const go = (): void => {
      timer.cancel();
      if (this.#failing.get(job) !== stop) return;
      this.#failing.delete(job);
      this.#hands.lanes.again(job);
    };
    const timer = this.#runtime.clock.after(Math.min(Math.max(1, ms), LONGEST_TIMER), go);
    const gone = (): void => {
      timer.cancel();
      if (this.#failing.delete(job)) this.#hands.end(job);
    };
    if (this.#closing || !job.held) gone();
    else stop.signal.addEventListener("abort", gone, { once: true });
    return go;
  }

  /** Given up. What cannot be buried is released, and comes again. */
  bury(job: Job, death: Death): void {
    const stop = new AbortController();
    this.#failing.set(job, stop);
    void this.#bury(job, death, stop.signal).then(() => {
      this.#over(job, stop);
      this.#hands.rested();
    });
  }

  async #bury(job: Job, death: Death, stop: AbortSignal): Promise<void> {
    try {
      await this.#hands.bury(job, death);
    } catch (thrown) {
      const error = TallyError.is(thrown) ? thrown : new TallyError("store", describe(thrown), { cause: thrown });
      this.#surface(job, error);
      return await this.#putOff(job, error, stop);
    }
    // At once, as after a success: what is decided and durable is not undone by a close.
    if (this.#failing.delete(job)) this.#hands.ack(job);
  }

  /** Not this delivery's failure: back to the broker after a back-off, or asked anew where it takes nothing back. */
  async #putOff(job: Job, error: TallyError, stop: AbortSignal): Promise<void> {
    if (stop.aborted || this.#closing || !job.held) return;
    if (this.#runtime.transport.traits.release !== "none")
      return await this.#waitToRelease(job, RELEASE, error, stop).catch(() => {});
    await this.#hands.drop(job);
    if (this.#failing.has(job)) this.hold(job, this.#beforeRelease(job));
  }

  async #run(job: Job, first: TallyError, stop: AbortController): Promise<void> {
    let ruling: Ruling | null = null;
    let last: TallyError = first;
    try {
      await pRetry((n) => (n === 1 ? Promise.reject(first) : this.#again(job)), {
        retries: Number.POSITIVE_INFINITY, // the ruling decides, and each wait is at least 1 ms
        minTimeout: 0, // the wait is ours: through the clock, with full jitter
        signal: stop.signal,
        onFailedAttempt: async ({ error }) => {
          last = error as TallyError;
          ruling = this.#rule(job, last);
          if (ruling?.kind === "retry") ruling = await this.#waitToRetry(job, ruling, stop.signal);
        },
        shouldRetry: () => ruling?.kind === "retry",
      });
    } catch {
      // Decided, or abandoned: then the signal has fired, or there is no ruling. Or acked, and the signal fired since.
      if (ruling !== null && !stop.signal.aborted && this.#failing.has(job))
        await this.#leave(job, ruling, last, stop.signal);
      this.#over(job, stop);
    }
    this.#hands.rested();
  }

  #over(job: Job, stop: AbortController): void {
    // Another controller: it is held for another try.
    if (this.#failing.get(job) !== stop) return;
    this.#failing.delete(job);
    this.#hands.end(job);
  }

  #again(job: Job): Promise<void> {
    return new Promise((resolve, reject) => {
      job.onEnd = (error) => {
        if (error !== null) return reject(error);
        // At once: p-retry takes some microtasks, and a loss or a close in between must not undo what is done.
        this.#failing.delete(job);
        this.#hands.done(job);
        resolve();
      };
      this.#hands.lanes.again(job);
    });
  }

  async #leave(job: Job, ruling: Ruling, error: TallyError, stop: AbortSignal): Promise<void> {
    if (ruling.kind === "deadLetter") {
      try {
        // What it still does must not come beside its dead letter.
        if (job.late !== null) await this.#lateEnd(job, stop);
      } catch {
        return;
      }
      const attempts = job.claim?.claim.attempt ?? job.attempts;
      return await this.#bury(job, { reason: ruling.reason ?? error.message, attempts, conflict: false }, stop);
    }
    if (isNotItsOwn(error)) return await this.#putOff(job, error, stop);
    await this.#waitToRelease(job, ruling, error, stop).catch(() => {});
  }

  /** What the failed attempt leads to; null if the delivery is no longer ours to decide about. */
  #rule(job: Job, error: TallyError): Ruling | null {
    if (isNotItsOwn(error)) {
      this.#surface(job, error);
      return this.#closing || !job.held ? null : RELEASE;
    }
    const { id, attempts: attempt, subscription, delivery } = job;
    const topic = subscription.topic.name;
    this.#emit({ type: "attempt-failed", topic, group: this.#group, id, attempt, error });
    if (this.#closing || !job.held) return null;
    const about = { attempt, deliveries: delivery.count, topic, id };
    const ruling = decide(this.#policy, error as HandlingError, about, (text) => subscription.surfaced(text));
    if (ruling.kind === "deadLetter") return ruling;
    // A broker that takes nothing back leaves only this place to try again.
    if (this.#runtime.transport.traits.release === "none")
      return { kind: "retry", afterMs: ruling.afterMs ?? this.#beforeRelease(job) };
    return ruling;
  }

  async #waitToRetry(job: Job, ruling: Wait, stop: AbortSignal): Promise<Wait> {
    const { retryMin: min, retryMax: max } = this.#policy;
    const ms = ruling.afterMs ?? fullJitter({ min, max }, job.attempts, this.#runtime.random);
    await sleep(this.#runtime.clock, Math.max(1, ms), stop);
    if (job.late === null) return ruling;
    if (!job.inOrder && this.#runtime.transport.traits.release !== "none") return { kind: "release", afterMs: 0 };
    await this.#lateEnd(job, stop);
    return ruling;
  }

  /** Rejects when it is no longer ours to release. */
  async #waitToRelease(job: Job, { afterMs }: Wait, why: TallyError, stop: AbortSignal): Promise<void> {
    const ms = afterMs ?? this.#beforeRelease(job);
    const delayed = this.#runtime.transport.traits.release === "delayed";
    // Its credit is held meanwhile: a broker that has it back at once would send it again at once.
    if (!delayed && ms > 0) await sleep(this.#runtime.clock, ms, stop);
    if (job.inOrder && job.late !== null) await this.#lateEnd(job, stop);
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

  /** Of the inbox, or of the dead letter: nobody's handler has failed. */
  #surface(job: Job, error: TallyError): void {
    const { topic } = job.subscription;
    if (error.code === "fenced") this.#emit({ type: "fenced", topic: topic.name, group: this.#group, id: job.id });
    else job.subscription.surfaced(`${job.id ?? "a delivery"} is not acked: ${error.message}`);
  }

  #emit(event: Parameters<Runtime["events"]["emit"]>[0]): void {
    this.#runtime.events.emit(event);
  }
}
