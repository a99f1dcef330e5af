// One thing: a delivery's attempts, from its turn on a lane to its ack or to what takes it over.
import { DeadLetters } from "../dead-letters/dead-letters.ts";
import type { TallyError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { InboxTransactions, ParkedPlace } from "../stores.ts";
import { parkedDelivery } from "../park/copy.ts";
import type { Ran } from "../park/runners.ts";
import { Attempt, Job } from "./attempt.ts";
import { inflated } from "../compress/inflate.ts";
import { readBody } from "../body.ts";
import { Deadlines } from "./deadlines.ts";
import { Delays } from "./delays.ts";
import { Failures } from "./failures.ts";
import { Guard } from "./guard.ts";
import { Lanes } from "./lanes.ts";
import { isUnreadable } from "./decide.ts";
import { deadlineMissed, handlerFailed, noTransaction } from "./handler-errors.ts";
import { identify } from "./identify.ts";
import { handleInTransaction } from "./in-transaction.ts";
import type { ConsumerPolicy } from "./options.ts";
import type { ConsumerPorts } from "./ports.ts";
import type { TopicSubscription } from "./subscription.ts";
import { Quiet } from "./quiet.ts";
import { ReplaySource } from "./replay-source.ts";
import type { ReceiverSession } from "./session.ts";

/**
 * Runs handlers on the lanes, under their deadlines, and acks what they have done. What fails goes to {@link Failures}.
 *
 * A first attempt that succeeds costs no more than its handler: no promise of ours, no timer, no signal.
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
  readonly failures: Failures;
  readonly #group: string;
  readonly #policy: ConsumerPolicy;
  readonly #runtime: Runtime;
  readonly #deadlines: Deadlines;
  /** Null without an inbox: then no delivery pays for it. */
  readonly #guard: Guard | null;
  readonly #transactions: InboxTransactions<unknown> | null;
  readonly #transacted: ConsumerPorts["transacted"];
  readonly #quiet: Quiet = new Quiet();
  /** Parked messages that are run by a person's word. */
  readonly #replays: Set<ReplaySource> = new Set();
  #lateRunning = 0;
  /** Handlers that have returned and whose transactions are not committed yet. */
  #committing = 0;
  #closing = false;

  constructor(group: string, policy: ConsumerPolicy, runtime: Runtime, ports: ConsumerPorts) {
    this.#group = group;
    this.#policy = policy;
    this.#runtime = runtime;
    const letters = new DeadLetters(group, ports.publish, runtime);
    this.lanes = new Lanes(policy.lanes, (job) => this.#start(job));
    this.failures = new Failures(group, policy, runtime, {
      lanes: this.lanes,
      delays: new Delays(group, policy, runtime, ports.publish),
      done: (job) => this.#done(job),
      ack: (job) => this.#ack(job),
      end: (job) => this.#end(job),
      rested: () => this.#rested(),
      bury: (job, death) =>
        this.#guard === null
          ? letters.send(job.subscription.topic.name, job.id, job.delivery.message, death)
          : this.#guard.bury(job, death),
      parks: (job) => this.#guard?.parks(job) ?? false,
      park: (job, reason) => this.#guard!.park(job, reason),
      drop: (job) => this.#guard?.drop(job) ?? null,
    });
    const { inbox } = ports;
    this.#transacted = ports.transacted;
    const guarded = inbox !== null && policy.effect !== "none";
    this.#transactions = guarded && policy.effect === "tx" ? inbox.transactions : null;
    this.#guard = !guarded
      ? null
      : new Guard(group, policy, runtime, inbox, letters, {
          failures: this.failures,
          identify: (job) => identify(policy.id, new Attempt(job, job.attempts + 1)),
          start: (job) => this.#start(job),
          leave: () => this.lanes.leave(),
          again: (job) => this.lanes.again(job),
          ack: (job) => this.#ack(job),
          rested: () => this.#rested(),
          shared: ({ subscription }) => ports.members?.apart(subscription.topic.name, group) !== true,
        });
    this.#deadlines = new Deadlines(runtime.clock, policy.processingDeadline, (attempt) => this.#expired(attempt));
  }

  /** Runs a parked message as a delivery whose key is not parked. */
  replay(subscription: TopicSubscription, message: ParkedPlace): Promise<Ran> {
    const source = new ReplaySource(subscription);
    this.#replays.add(source);
    void source.ran.then(() => this.#replays.delete(source));
    this.lanes.add(new Job(source, parkedDelivery(message), source));
    this.lanes.pump();
    return source.ran;
  }

  /** Drops what waits and can no longer be settled, and ends the waits of what failed. Running handlers finish. */
  forget(keys: ReadonlyMap<string, Job>): void {
    this.#drop(keys, (job) => !job.held);
    this.lanes.pump();
  }

  /** Nothing starts any more: what has not begun, or waits for another attempt, stays unsettled and comes again elsewhere. */
  stop(topics: Iterable<{ readonly keys: ReadonlyMap<string, Job> }>): void {
    this.#closing = true;
    this.failures.close();
    for (const { keys } of topics) this.#drop(keys, () => true);
  }

  /** Nothing of this session starts any more: what has not begun, or waits for another attempt, stays unsettled. */
  leave(session: ReceiverSession): void {
    this.#drop(session.subscription.keys, (job) => job.session === session);
    this.#rested();
  }

  /** Resolves when no handler of such a job runs. */
  drained(which: (job: Job) => boolean): Promise<void> {
    return this.#quiet.once(() => !this.#deadlines.all().some(({ job }) => which(job)));
  }

  /** Resolves when no handler of this session runs, and nothing of it is about to be settled. */
  left(session: ReceiverSession): Promise<void> {
    const of = (job: Job): boolean => job.session === session;
    return this.#quiet.once(
      () =>
        !this.#deadlines.all().some(({ job }) => of(job)) && !this.failures.some(of) && this.#guard?.some(of) !== true,
    );
  }

  /** Resolves when no handler runs, late ones included, and nothing is about to be settled. */
  idle(): Promise<void> {
    return this.#quiet.once(
      () =>
        this.lanes.running === 0 && this.#committing === 0 && !this.failures.some() && (this.#guard?.size ?? 0) === 0,
    );
  }

  /** Fires the signals of running handlers; tells how many there are. Nothing expires any more. */
  abort(reason: TallyError): number {
    const running = this.lanes.running + this.#committing;
    for (const attempt of this.#deadlines.all()) attempt.abort(reason);
    this.#deadlines.stop();
    this.#guard?.close();
    // Who asked for one must not wait for a handler that may never end.
    for (const source of this.#replays) source.gone();
    return running;
  }

  // ── one attempt ─────────────────────────────────────────────────────────────

  #start(job: Job): void {
    // A listener may have closed the consumer while a batch was being taken in.
    if (!job.held || this.#closing || job.session.leaving) {
      this.lanes.leave();
      return this.#forgotten(job);
    }
    if (this.#guard !== null && job.claim === null && !job.unguarded) return this.#guard.take(job);
    if (job.claim !== null && job.claim.fenced) return this.#fenced(job);
    const attempt = new Attempt(job, ++job.attempts);
    job.running = attempt;
    const { topic } = job.subscription;
    let body: unknown;
    let waits: boolean;
    try {
      identify(this.#policy.id, attempt);
      // Read anew for each attempt: a handler may have changed the body that it got before.
      const plain = inflated(topic, job.delivery.message);
      waits = plain instanceof Promise;
      body = plain instanceof Promise ? plain.then((bytes) => readBody(topic, bytes)) : readBody(topic, plain);
      waits ||= topic.schema !== null && body instanceof Promise;
    } catch (error) {
      return this.#over(job, attempt, error as TallyError);
    }
    if (!waits) return this.#handle(job, attempt, body);
    this.#deadlines.add(attempt);
    (body as Promise<unknown>).then(
      (output) => (job.late === attempt ? this.#over(job, attempt, null) : this.#handle(job, attempt, output)),
      (error: unknown) => this.#over(job, attempt, error as TallyError),
    );
  }

  /** Its claim went to another one while it waited for this attempt. */
  #fenced(job: Job): void {
    this.lanes.leave();
    this.#outcome(job, this.#guard!.fencedError(job));
    this.#rested();
  }

  #handle(job: Job, attempt: Attempt, body: unknown): void {
    if (attempt.attempt === 1) job.subscription.readable();
    if (this.#transactions !== null)
      return job.claim === null
        ? this.#over(job, attempt, noTransaction(job))
        : this.#transact(job, attempt, body, this.#transactions);
    let outcome: Promise<unknown>;
    attempt.ran = true;
    try {
      const given = job.subscription.handler(body, attempt) as unknown;
      if (!isThenable(given)) return this.#over(job, attempt, null);
      // A native promise as it is; of anything else we take the first settlement only.
      outcome = Promise.resolve(given);
    } catch (thrown) {
      return this.#over(job, attempt, handlerFailed(job, thrown));
    }
    if (!attempt.listed) this.#deadlines.add(attempt);
    outcome.then(
      () => this.#over(job, attempt, null),
      (thrown: unknown) => this.#over(job, attempt, handlerFailed(job, thrown)),
    );
  }

  #transact(job: Job, attempt: Attempt, body: unknown, transactions: InboxTransactions<unknown>): void {
    if (!attempt.listed) this.#deadlines.add(attempt);
    const lane = { enter: () => this.#backOnLane(attempt), leave: () => this.#offLane(attempt) };
    void handleInTransaction(transactions, this.#transacted, job.claim!, job, attempt, body, lane).then((failed) => {
      if (failed === null) this.#over(job, attempt, null);
      else this.#over(job, attempt, failed.by === "handler" ? handlerFailed(job, failed.thrown) : failed.error);
    });
  }

  /**
   * The next one gets its lane before the commit, so that its claim can share that commit: at most `lanes` handlers run, but
   * a lane does not stand empty while the disk is waited for. What is claimed then replaces what is marked.
   */
  #offLane(attempt: Attempt): void {
    // A store may give up on a handler that returns after all.
    if (attempt.lane !== "on") return;
    attempt.lane = "off";
    this.#committing++;
    this.lanes.leave();
    this.lanes.pump();
  }

  #backOnLane(attempt: Attempt): void {
    if (attempt.lane !== "off") return;
    attempt.lane = "on";
    this.#committing--;
    this.lanes.back();
  }

  /** An attempt has come to rest: in time, or long after its deadline was reported. */
  #over(job: Job, attempt: Attempt, error: TallyError | null): void {
    this.#deadlines.remove(attempt);
    if (attempt.lane === "off") this.#committing--;
    else this.lanes.leave();
    attempt.lane = "over";
    if (job.late === attempt) {
      job.late = null;
      this.#lateRunning--;
      const outcome = error === null ? "returned" : "threw";
      // An asynchronous schema can miss the deadline too; its handler was never called.
      if (attempt.ran)
        this.#runtime.events.emit({
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
    this.#rested();
  }

  #expired(attempt: Attempt): void {
    const { job } = attempt;
    const error = deadlineMissed(job, this.#policy.processingDeadline);
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

  #outcome(job: Job, error: TallyError | null): void {
    const { onEnd } = job;
    job.onEnd = null;
    if (onEnd !== null) onEnd(error);
    else if (error === null) this.#done(job);
    // What stays unsettled comes again, here or elsewhere.
    else if (job.replay === null && isUnreadable(error) && job.subscription.unreadable(job, error)) this.#end(job);
    else this.failures.add(job, error);
  }

  // ── the end of a delivery ───────────────────────────────────────────────────

  /** The handler has returned: acked, after its mark where there is an inbox. */
  #done(job: Job): void {
    if (job.claim === null) this.#ack(job);
    else this.#guard!.done(job);
  }

  #ack(job: Job): void {
    if (job.held) {
      job.session.settle({ kind: "ack", delivery: job.delivery });
      if (job.inOrder) job.session.away.done(job.key!, job.delivery.message);
    }
    this.#end(job);
  }

  #end(job: Job): void {
    if (job.claim !== null) void this.#guard!.drop(job);
    this.#guard?.ended(job);
    job.replay?.gone();
    if (job.late === null) return this.lanes.end(job);
    job.onLateEnd = () => this.lanes.end(job);
  }

  #drop(keys: ReadonlyMap<string, Job>, gone: (job: Job) => boolean): void {
    for (const job of this.lanes.purge(keys, gone)) this.#forgotten(job);
    this.failures.abandon(gone);
  }

  /** Its turn came, or would have come, when it could no longer be settled. */
  #forgotten(job: Job): void {
    if (job.onEnd === null) this.#end(job);
    else this.failures.forgotten(job);
  }

  /** Something has come to rest: its lane is free, its key may go on, a close may be waiting for it. */
  #rested(): void {
    this.lanes.pump();
    this.#quiet.look();
  }
}

function isThenable(given: unknown): given is PromiseLike<unknown> {
  return typeof given === "object" && given !== null && typeof (given as { then?: unknown }).then === "function";
}
