import pRetry from "p-retry";
import { fullJitter } from "../backoff.ts";
import { sleep } from "../clock.ts";
import { CONFLICT, type Death } from "../dead-letters/letter.ts";
import { LONGEST_TIMER } from "../duration.ts";
import { describe, TallyError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import { FULL_POLL_MS } from "./parking.ts";
import type { Job } from "./attempt.ts";
import { type Decision, decide, type HandlingError, isNotItsOwn, RELEASE, RETRY, type Wait } from "./decide.ts";
import { type Hands, waysOf } from "./hands.ts";
import { lateEnd } from "./late.ts";
import type { ConsumerPolicy } from "./options.ts";
import { Releases } from "./releases.ts";

// Ends waits inside; nobody outside sees it.
const UNSETTLED: TallyError = new TallyError("closed", "the delivery can no longer be settled here");

type Ending = Exclude<Decision, { readonly kind: "block" }>;

/**
 * What becomes of deliveries whose first attempt has failed: attempts in place, then a delayed copy, a release, a dead
 * letter, or the parking of its key. And of those that an inbox holds up: what it does not answer for is released, a claim
 * of somebody else is waited for.
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
  readonly releases: Releases;
  /** Not settled yet, with what ends their waits. */
  readonly #failing: Map<Job, AbortController> = new Map();
  #closing = false;

  constructor(group: string, policy: ConsumerPolicy, runtime: Runtime, hands: Hands) {
    this.#group = group;
    this.#policy = policy;
    this.#runtime = runtime;
    this.#hands = hands;
    this.releases = new Releases(group, policy, runtime, hands);
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
    if (this.#closing || job.leaving) gone();
    else stop.signal.addEventListener("abort", gone, { once: true });
    return go;
  }

  /** Given up. What cannot be buried is released, and comes again. */
  bury(job: Job, death: Death): void {
    this.#end(job, (stop) => this.#bury(job, death, stop));
  }

  /** Parked with its key. What cannot be parked is released, and comes again. */
  park(job: Job, reason: string): void {
    this.#end(job, (stop) => this.#park(job, reason, stop));
  }

  #end(job: Job, how: (stop: AbortSignal) => Promise<void>): void {
    const stop = new AbortController();
    this.#failing.set(job, stop);
    void how(stop.signal).then(() => {
      this.#over(job, stop);
      this.#hands.rested();
    });
  }

  async #bury(job: Job, death: Death, stop: AbortSignal): Promise<void> {
    try {
      await this.#hands.bury(job, death);
    } catch (thrown) {
      return await this.#notWritten(job, thrown, stop);
    }
    // At once, as after a success: what is decided and durable is not undone by a close.
    if (this.#failing.delete(job)) this.#hands.ack(job);
  }

  /** Its credit and its place in the key are held while the store is at its bound: nothing of the topic goes on meanwhile. */
  async #park(job: Job, reason: string, stop: AbortSignal): Promise<void> {
    try {
      let parked = await this.#hands.park(job, reason);
      for (; parked === "full"; parked = await this.#hands.park(job, reason))
        await sleep(this.#runtime.clock, FULL_POLL_MS, stop);
      if (parked === "conflict") return await this.#bury(job, CONFLICT, stop);
    } catch (thrown) {
      if (!stop.aborted) await this.#notWritten(job, thrown, stop);
      return;
    }
    if (this.#failing.delete(job)) this.#hands.ack(job);
  }

  async #delay(job: Job, { afterMs }: Wait, stop: AbortSignal): Promise<void> {
    // A close waits for the copy. A lost session does not: the delivery comes again, and needs none.
    const gone = new AbortController();
    const onStop = (): void => void (job.held || gone.abort(UNSETTLED));
    stop.addEventListener("abort", onStop, { once: true });
    try {
      await this.#hands.drop(job);
      if (!job.held) return;
      await this.#hands.delays.send(job, afterMs, gone.signal);
    } catch (thrown) {
      if (job.held) await this.#notWritten(job, thrown, stop);
      return;
    } finally {
      stop.removeEventListener("abort", onStop);
    }
    if (this.#failing.delete(job)) this.#hands.ack(job);
  }

  async #notWritten(job: Job, thrown: unknown, stop: AbortSignal): Promise<void> {
    const error = TallyError.is(thrown) ? thrown : new TallyError("store", describe(thrown), { cause: thrown });
    this.#surface(job, error);
    await this.#putOff(job, error, stop);
  }

  /** Not this delivery's failure: back to the broker after a back-off, or asked anew where it takes nothing back. */
  async #putOff(job: Job, error: TallyError, stop: AbortSignal): Promise<void> {
    if (stop.aborted || this.#closing || job.leaving) return;
    if (job.replay !== null) return job.replay.failed(error);
    if (this.#runtime.transport.traits.release !== "none")
      return await this.releases.afterWait(job, RELEASE, error, stop).catch(() => {});
    await this.#hands.drop(job);
    if (this.#failing.has(job)) this.hold(job, this.releases.waitOf(job));
  }

  async #run(job: Job, first: TallyError, stop: AbortController): Promise<void> {
    let ruling: Ending | null = null;
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

  async #leave(job: Job, ruling: Ending, error: TallyError, stop: AbortSignal): Promise<void> {
    // Already parked: its replay ends here, and its key stays parked from here.
    if (job.replay !== null && ruling.kind !== "deadLetter") {
      await this.#hands.drop(job);
      return job.replay.failed(error);
    }
    if (ruling.kind === "deadLetter" || ruling.kind === "park") {
      try {
        // What it still does must not come beside its dead letter, or beside its replay.
        if (job.late !== null) await lateEnd(job, stop);
      } catch {
        return;
      }
      if (ruling.kind === "park") return await this.#park(job, ruling.reason ?? error.message, stop);
      const attempts = job.claim?.claim.attempt ?? job.attempts;
      return await this.#bury(job, { reason: ruling.reason ?? error.message, attempts, conflict: false }, stop);
    }
    if (ruling.kind === "delay") return await this.#delay(job, ruling, stop);
    if (isNotItsOwn(error)) return await this.#putOff(job, error, stop);
    await this.releases.afterWait(job, ruling, error, stop).catch(() => {});
  }

  /** What the failed attempt leads to; null if the delivery is no longer ours to decide about. */
  #rule(job: Job, error: TallyError): Ending | null {
    if (isNotItsOwn(error)) {
      this.#surface(job, error);
      return this.#closing || job.leaving ? null : RELEASE;
    }
    const { id, attempts: attempt, subscription, delivery } = job;
    const topic = subscription.topic.name;
    this.#emit({ type: "attempt-failed", topic, group: this.#group, id, attempt, error });
    if (this.#closing || job.leaving) return null;
    const about = { attempt, delays: delivery.message.attempt - 1, deliveries: delivery.count, topic, id };
    const surfaced = (text: string): void => subscription.surfaced(text);
    const ruling = decide(this.#policy, error as HandlingError, about, waysOf(job, this.#hands), surfaced);
    // A replay ends instead: its message is parked as it is, and whoever asked for it must hear of the failure.
    if (ruling.kind === "block") return job.replay === null ? this.#block(job) : RELEASE;
    if (ruling.kind === "deadLetter" || ruling.kind === "park") return ruling;
    if (ruling.kind === "delay") return this.#hands.delays.bounded(job, ruling, error);
    // A broker that takes nothing back leaves only this place to try again.
    if (this.#runtime.transport.traits.release === "none" && job.replay === null)
      return { kind: "retry", afterMs: ruling.afterMs ?? this.releases.waitOf(job) };
    return ruling;
  }

  /** Surfaced once for each head: the key stands still, for a person to see. */
  #block(job: Job): Ending {
    const { topic } = job.subscription;
    if (!job.blocked)
      job.subscription.surfaced(
        `key ${JSON.stringify(job.key)} is blocked: ${job.id ?? "its head"} failed ${job.attempts} times, and is tried again in place for ever. ${topic.name} is ordered, and nothing of the key is run past it; an inbox that all of the group share would park it`,
      );
    job.blocked = true;
    return RETRY;
  }

  async #waitToRetry(job: Job, ruling: Wait, stop: AbortSignal): Promise<Wait> {
    const { retryMin: min, retryMax: max } = this.#policy;
    const ms = ruling.afterMs ?? fullJitter({ min, max }, job.attempts, this.#runtime.random);
    await sleep(this.#runtime.clock, Math.max(1, ms), stop);
    if (job.late === null) return ruling;
    if (!job.inOrder && this.#runtime.transport.traits.release !== "none") return { kind: "release", afterMs: 0 };
    await lateEnd(job, stop);
    return ruling;
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
