import pRetry from "p-retry";
import { fullJitter } from "../backoff.ts";
import { sleep } from "../clock.ts";
import { describe, TallyError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import { Attempt, type Job } from "./attempt.ts";
import { readBody } from "./body.ts";
import { Deadlines } from "./deadlines.ts";
import { Lanes } from "./lanes.ts";
import type { ConsumerPolicy, Ruling } from "./options.ts";

// Ends waits inside; nobody outside sees it.
const UNSETTLED: TallyError = new TallyError("closed", "the delivery can no longer be settled here");

type HandlingError = TallyError<"handler" | "handler-deadline" | "decode" | "schema">;

/**
 * Runs handlers: lanes, attempts in place, deadlines, and what becomes of a delivery.
 *
 * A first attempt that succeeds costs no more than its handler: no promise of ours, no timer, no signal. Only one that
 * fails gets the machinery of p-retry, into which the first failure is fed as its first attempt.
 *
 * Between two attempts, and before a release, a delivery is off the lanes: others run, but none of its key.
 *
 * A handler that misses its deadline is told so by its signal, and its attempt has failed. JavaScript cannot end it, so it
 * keeps its place among the `lanes` until it does settle (otherwise more than `lanes` would run), and so does its key: the
 * next of the key must not run beside it. Meanwhile its own delivery is not tried again in place; it is released when its
 * back-off is over, except in an ordered topic, where the redelivery could run elsewhere beside the late handler: there it
 * stays in hand until the handler settles. What a late handler returns changes nothing: one that returns because its
 * signal fired looks the same as one that is done.
 */
export class Attempts {
  readonly lanes: Lanes<Job>;
  readonly #group: string;
  readonly #policy: ConsumerPolicy;
  readonly #runtime: Runtime;
  readonly #deadlines: Deadlines;
  /** Deliveries that failed and are not settled yet, with what ends their waits. */
  readonly #failing: Map<Job, AbortController> = new Map();
  readonly #watchers: Set<() => void> = new Set();
  #lateRunning = 0;
  #closing = false;

  constructor(group: string, policy: ConsumerPolicy, runtime: Runtime) {
    this.#group = group;
    this.#policy = policy;
    this.#runtime = runtime;
    this.lanes = new Lanes(policy.lanes, (job) => this.#start(job));
    this.#deadlines = new Deadlines(runtime.clock, policy.processingDeadline, (attempt) => this.#expired(attempt));
  }

  /** Drops what waits and can no longer be settled, and ends the waits of what failed. Running handlers finish. */
  forget(keys: ReadonlyMap<string, Job>): void {
    this.#drop(keys, (job) => !job.held);
    this.lanes.pump();
  }

  /** Nothing starts any more: what has not begun, or waits for another attempt, stays unsettled and comes again elsewhere. */
  stop(topics: Iterable<{ readonly keys: ReadonlyMap<string, Job> }>): void {
    this.#closing = true;
    for (const { keys } of topics) this.#drop(keys, () => true);
  }

  /** Resolves when no handler of such a job runs. */
  drained(which: (job: Job) => boolean): Promise<void> {
    const busy = (): boolean => this.#deadlines.all().some(({ job }) => which(job));
    return new Promise((resolve) => {
      const look = (): void => {
        if (busy()) return;
        this.#watchers.delete(look);
        resolve();
      };
      this.#watchers.add(look);
      look();
    });
  }

  /** Resolves when no handler runs, late ones included, and nothing is about to be settled. */
  idle(): Promise<void> {
    return new Promise((resolve) => {
      const look = (): void => {
        if (this.lanes.running > 0 || this.#failing.size > 0) return;
        this.#watchers.delete(look);
        resolve();
      };
      this.#watchers.add(look);
      look();
    });
  }

  /** Fires the signals of running handlers; tells how many there are. Nothing expires any more. */
  abort(reason: TallyError): number {
    const running = this.lanes.running;
    for (const attempt of this.#deadlines.all()) attempt.abort(reason);
    this.#deadlines.stop();
    return running;
  }

  /** Releases a delivery that came while earlier ones of its key are away. */
  turnBack(job: Job, why: TallyError): void {
    job.session.away.left(job.key!, [job.delivery.message], why);
    this.#released(job, 0, why);
  }

  // ── one attempt ─────────────────────────────────────────────────────────────

  #start(job: Job): void {
    if (!job.held) {
      this.lanes.leave();
      return this.#forgotten(job);
    }
    const attempt = new Attempt(job, ++job.attempts);
    job.running = attempt;
    let body: unknown;
    try {
      this.#identify(job, attempt);
      // Read anew for each attempt: a handler may have changed the body that it got before.
      body = readBody(job.subscription.topic, job.delivery.message);
    } catch (error) {
      return this.#over(job, attempt, error as HandlingError);
    }
    if (!(body instanceof Promise) || job.subscription.topic.schema === null) return this.#handle(job, attempt, body);
    this.#deadlines.add(attempt);
    body.then(
      (output) => (job.late === attempt ? this.#over(job, attempt, null) : this.#handle(job, attempt, output)),
      (error: unknown) => this.#over(job, attempt, error as HandlingError),
    );
  }

  #handle(job: Job, attempt: Attempt, body: unknown): void {
    let outcome: Promise<void>;
    attempt.ran = true;
    try {
      const given = job.subscription.handler(body, attempt) as unknown;
      if (!isThenable(given)) return this.#over(job, attempt, null);
      // A native promise as it is; of anything else we take the first settlement only.
      outcome = Promise.resolve(given) as Promise<void>;
    } catch (thrown) {
      return this.#over(job, attempt, this.#wrap(job, thrown));
    }
    if (!attempt.listed) this.#deadlines.add(attempt);
    outcome.then(
      () => this.#over(job, attempt, null),
      (thrown: unknown) => this.#over(job, attempt, this.#wrap(job, thrown)),
    );
  }

  /** An attempt has come to rest: in time, or long after its deadline was reported. */
  #over(job: Job, attempt: Attempt, error: HandlingError | null): void {
    this.#deadlines.remove(attempt);
    this.lanes.leave();
    if (job.late === attempt) {
      job.late = null;
      this.#lateRunning--;
      const outcome = error === null ? "returned" : "threw";
      // An asynchronous schema can miss the deadline too; its handler was never called.
      if (attempt.ran)
        this.#emit({
          type: "late-effect",
          topic: job.subscription.topic.name,
          group: this.#group,
          id: job.id,
          outcome,
        });
      const waiting = job.onLateEnd;
      job.onLateEnd = null;
      waiting?.();
    } else {
      job.running = null;
      this.#outcome(job, error);
    }
    this.lanes.pump();
    this.#look();
  }

  #expired(attempt: Attempt): void {
    const { job } = attempt;
    const error = new TallyError(
      "handler-deadline",
      `${this.#name(job)} did not settle within ${this.#policy.processingDeadline} ms`,
      { id: job.id ?? undefined },
    );
    job.running = null;
    job.late = attempt;
    if (++this.#lateRunning === this.#policy.lanes) {
      job.subscription.surfaced(
        `all ${this.#policy.lanes} lanes are held by handlers that missed their deadline and have not settled: nothing runs`,
      );
    }
    this.#outcome(job, error);
    attempt.abort(error);
  }

  #outcome(job: Job, error: HandlingError | null): void {
    const { onEnd } = job;
    job.onEnd = null;
    if (onEnd !== null) onEnd(error);
    else if (error === null) this.#ack(job);
    else void this.#fail(job, error);
  }

  // ── after a failure ─────────────────────────────────────────────────────────

  async #fail(job: Job, first: HandlingError): Promise<void> {
    const stop = new AbortController();
    this.#failing.set(job, stop);
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
      this.#failing.delete(job);
      this.#ack(job);
    } catch {
      // Decided, or abandoned: then the signal has fired, or there is no ruling.
      if (ruling !== null && !stop.signal.aborted)
        await this.#waitToRelease(job, ruling, last, stop.signal).catch(() => {});
      this.#failing.delete(job);
      this.#end(job);
    }
    this.lanes.pump();
    this.#look();
  }

  #again(job: Job): Promise<void> {
    return new Promise((resolve, reject) => {
      job.onEnd = (error) => (error === null ? resolve() : reject(error));
      this.lanes.again(job);
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
    this.#released(job, ms, why);
    if (!job.inOrder) return;
    // What is in hand behind it must not overtake it.
    const behind = this.lanes.takeBehind(job).filter((next) => next.held);
    for (const next of behind) this.#released(next, ms, why);
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

  // ── the end of a delivery ───────────────────────────────────────────────────

  #ack(job: Job): void {
    if (job.held) {
      job.session.settle({ kind: "ack", delivery: job.delivery });
      if (job.inOrder) job.session.away.done(job.key!, job.delivery.message);
    }
    this.#end(job);
  }

  #released(job: Job, ms: number, why: TallyError): void {
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

  #end(job: Job): void {
    if (job.late === null) return this.lanes.end(job);
    job.onLateEnd = () => this.lanes.end(job);
  }

  #drop(keys: ReadonlyMap<string, Job>, gone: (job: Job) => boolean): void {
    for (const job of this.lanes.purge(keys, gone)) this.#forgotten(job);
    for (const [job, stop] of this.#failing) if (job.running === null && gone(job)) stop.abort(UNSETTLED);
  }

  /** Its turn came, or would have come, when it could no longer be settled. */
  #forgotten(job: Job): void {
    const { onEnd } = job;
    if (onEnd === null) return this.#end(job);
    job.onEnd = null;
    this.#failing.get(job)?.abort(UNSETTLED);
    onEnd(UNSETTLED); // #fail goes on from here, and ends it
  }

  // ── small things ────────────────────────────────────────────────────────────

  #identify(job: Job, attempt: Attempt): void {
    if (job.id !== null || this.#policy.id === null) return;
    let id: unknown;
    try {
      id = this.#policy.id(attempt);
    } catch (thrown) {
      throw new TallyError("decode", `${this.#name(job)}: id() of the consumer failed: ${describe(thrown)}`, {
        cause: thrown,
      });
    }
    if (typeof id !== "string" || id === "")
      throw new TallyError("decode", `${this.#name(job)}: id() of the consumer gave no string`);
    job.id = id;
  }

  /** Whatever was thrown, as an error of ours: p-retry would not retry a TypeError, nor what is no Error. */
  #wrap(job: Job, thrown: unknown): TallyError<"handler"> {
    return new TallyError("handler", `${this.#name(job)} failed: ${describe(thrown)}`, {
      id: job.id ?? undefined,
      cause: thrown,
    });
  }

  #name(job: Job): string {
    return `handler of ${this.#group} for ${job.subscription.topic.name}`;
  }

  #emit(event: Parameters<Runtime["events"]["emit"]>[0]): void {
    this.#runtime.events.emit(event);
  }

  #look(): void {
    if (this.#watchers.size > 0) for (const look of this.#watchers) look();
  }
}

function isThenable(given: unknown): given is PromiseLike<unknown> {
  return typeof given === "object" && given !== null && typeof (given as { then?: unknown }).then === "function";
}

function checked(given: Ruling | null | undefined): Ruling {
  if (given?.kind !== "retry" && given?.kind !== "release")
    throw new TallyError("bad-config", "onError must return retry() or release()");
  const { kind, afterMs } = given;
  return { kind, afterMs: typeof afterMs === "number" && afterMs >= 0 && afterMs < 2 ** 31 ? afterMs : null };
}
