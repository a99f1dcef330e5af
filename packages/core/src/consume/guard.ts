import type { DeadLetters } from "../dead-letters/dead-letters.ts";
import { CONFLICT, type Death, reasonText } from "../dead-letters/letter.ts";
import { TallyError } from "../error.ts";
import { failpoint } from "../failpoints.ts";
import { type Answer, Claims, type Hold } from "../inbox/claims.ts";
import { inboxKey } from "../inbox/identity.ts";
import { Parking } from "./parking.ts";
import type { Runtime } from "../runtime.ts";
import type { InboxKey, InboxStore } from "../stores.ts";
import type { Job } from "./attempt.ts";
import type { Failures } from "./failures.ts";
import type { ConsumerPolicy } from "./options.ts";

/** What {@link Guard} asks of who runs the attempts. */
export interface GuardHands {
  readonly failures: Failures;
  /** Fills in `job.id` by the consumer's own function. @throws TallyError `decode` */
  identify(job: Job): void;
  /** On its lane, with its claim, or without one for good. */
  start(job: Job): void;
  /** Off its lane. */
  leave(): void;
  /** Back to a lane, for its claim. */
  again(job: Job): void;
  ack(job: Job): void;
  rested(): void;
  /** Whether all members of its group that are known have this inbox. */
  shared(job: Job): boolean;
}

/**
 * Stands between a delivery and its handler where there is an inbox: nothing runs without a claim, and nothing is acked
 * before its mark is durable.
 *
 * Claims are asked for when a delivery's turn on a lane has come, not when it arrives: a claim counts as a started
 * attempt, and a process that dies with 500 deliveries in hand must not count against those that it never began.
 *
 * | the claim is | then |
 * |---|---|
 * | fresh | the handler runs; more starts than `maxAttempts`: a dead letter, or its ordered key is parked |
 * | busy | in hand, off the lanes, for the rest of the lease, then asked again: if the holder died, this is the message |
 * | done | acked: the effect is there |
 * | dead | its dead letter again (the first one may not have left), then acked |
 * | conflict | a dead letter: it is not the message that has had its effect |
 * | parked | stored behind what is parked of its key, then acked |
 *
 * What the store does not answer fails closed: no effect, no ack; the delivery is released after a back-off.
 */
export class Guard {
  readonly #group: string;
  readonly #policy: ConsumerPolicy;
  readonly #runtime: Runtime;
  readonly #letters: DeadLetters;
  readonly #hands: GuardHands;
  readonly #claims: Claims;
  readonly #parking: Parking;
  /** Jobs by their claims, for a claim that is fenced while its handler runs. */
  readonly #jobs: Map<Hold, Job> = new Map();
  #open = 0;

  constructor(
    group: string,
    policy: ConsumerPolicy,
    runtime: Runtime,
    store: InboxStore<unknown>,
    letters: DeadLetters,
    hands: GuardHands,
  ) {
    this.#group = group;
    this.#policy = policy;
    this.#runtime = runtime;
    this.#letters = letters;
    this.#hands = hands;
    this.#claims = new Claims({
      store,
      clock: runtime.clock,
      leaseMs: policy.lease,
      fenced: (hold) => this.#fenced(hold),
      surfaced: (text) => runtime.events.emit({ type: "surfaced", what: `inbox of ${group}`, text }),
    });
    this.#parking = new Parking(group, runtime, store, { ...hands, conflict: (job) => this.#conflict(job) });
  }

  /** Marks and parked messages that are being written. */
  get size(): number {
    return this.#open + this.#parking.size;
  }

  /** Whether such a job has a claim that has not ended. */
  some(which: (job: Job) => boolean): boolean {
    return [...this.#jobs.values()].some(which);
  }

  /** Claims are renewed no more. */
  close(): void {
    this.#claims.close();
  }

  /** A delivery on its lane asks for its claim. */
  take(job: Job): void {
    if (this.#parking.waits(job)) return this.#hands.leave();
    let key: InboxKey | null = null;
    try {
      this.#hands.identify(job);
      key = inboxKey(this.#group, job.subscription.topic.name, job.id, job.delivery);
    } catch {
      // The same will come again as the first attempt's failure.
      return this.#unidentified(job, null);
    }
    if (key === null) return this.#unidentified(job, "unguarded");
    const behind = job.inOrder && job.replay === null ? job.key : null;
    this.#claims.ask({ ...key, behind }).then(
      (answer) => this.#answered(job, key, answer),
      (error: TallyError) => {
        this.#hands.leave();
        this.#hands.failures.add(job, error);
        this.#hands.rested();
      },
    );
  }

  /** The handler has done its work: the mark, then the ack. */
  done(job: Job): void {
    const hold = job.claim;
    if (hold === null) return this.#hands.ack(job);
    if (this.#policy.effect === "tx") {
      // Marked by the transaction that has the effect.
      failpoint("inbox.committed");
      this.#claims.letGo(hold);
      this.#forget(job);
      return this.#hands.ack(job);
    }
    failpoint("inbox.handled");
    this.#open++;
    void this.#end(job, hold, { is: "done" })
      .then(
        () => {
          failpoint("inbox.marked");
          this.#hands.ack(job);
        },
        (error: TallyError) => this.#hands.failures.add(job, error),
      )
      .finally(() => {
        this.#open--;
        this.#hands.rested();
      });
  }

  /**
   * Given up: `dead` is durable before the letter leaves. Otherwise a redelivery after a lost ack could still run, and
   * there would be both an effect and a dead letter.
   * @throws TallyError `fenced`, `store`, or as `publish()` does: not acked then
   */
  async bury(job: Job, death: Death): Promise<void> {
    if (job.claim !== null) {
      await this.#end(job, job.claim, { is: "dead", reason: reasonText(death.reason) });
      failpoint("dead-letter.marked");
    }
    await this.#letters.send(job.subscription.topic.name, job.id, job.delivery.message, death);
  }

  /** Whether the key of this delivery can be parked with it. */
  parks(job: Job): boolean {
    return job.inOrder && job.claim !== null && this.#hands.shared(job);
  }

  /**
   * The head of a key has failed: stored, and its claim ended, in one transaction.
   * @throws TallyError `fenced`, `store`: not acked then
   */
  async park(job: Job, reason: string): Promise<"parked" | "full" | "conflict"> {
    const hold = job.claim;
    if (hold === null) throw this.fencedError(job);
    const result = await this.#parking.head(job, hold.claim, reasonText(reason));
    if (result === "full" || result === "conflict") return result;
    this.#claims.letGo(hold);
    this.#forget(job);
    if (result !== "parked") throw this.fencedError(job);
    return result;
  }

  /** Settled or not, it is done with. */
  ended(job: Job): void {
    this.#parking.ended(job);
  }

  /**
   * Not ours any more, and undone: another one may claim it at once. Never rejects. While its handler still runs, late,
   * the claim is left to run out instead, so that nobody runs beside it before that.
   */
  async drop(job: Job): Promise<void> {
    const hold = job.claim;
    if (hold === null) return;
    this.#forget(job);
    if (job.late !== null || hold.fenced) return this.#claims.letGo(hold);
    this.#open++;
    // What is not written runs out by itself.
    await this.#claims.end(hold, { is: "failed" }).catch(() => {});
    this.#open--;
    this.#hands.rested();
  }

  #answered(job: Job, key: InboxKey, answer: Answer): void {
    if (answer.state !== "parked") this.#parking.ended(job);
    if (answer.state === "fresh") {
      const { hold } = answer;
      job.claim = hold;
      this.#jobs.set(hold, job);
      const { attempt } = hold.claim;
      failpoint("inbox.claimed");
      if (attempt <= this.#policy.maxAttempts || job.replay !== null) this.#hands.start(job);
      else this.#poison(job, attempt - 1);
    } else if (answer.state === "busy") {
      this.#hands.leave();
      this.#runtime.events.emit({ type: "busy", ...this.#about(job), leftMs: answer.leftMs });
      const wake = this.#hands.failures.hold(job, answer.leftMs);
      // Ours, from a delivery whose session was lost: its end is known here at once.
      this.#claims.find(key)?.waiting.add(wake);
    } else if (answer.state === "done") {
      this.#hands.leave();
      this.#runtime.events.emit({ type: "duplicate", ...this.#about(job) });
      this.#hands.ack(job);
    } else if (answer.state === "dead") {
      this.#leave(job, { reason: answer.reason, attempts: null, conflict: false });
    } else if (answer.state === "parked") {
      this.#hands.leave();
      this.#parking.behind(job, key);
    } else {
      this.#hands.leave();
      this.#conflict(job);
    }
    this.#hands.rested();
  }

  #poison(job: Job, starts: number): void {
    const reason = `started ${starts} times, and never done`;
    if (!this.parks(job)) return this.#leave(job, { reason, attempts: starts, conflict: false });
    this.#hands.leave();
    this.#hands.failures.park(job, reason);
  }

  #conflict(job: Job): void {
    this.#runtime.events.emit({ type: "conflict", ...this.#about(job) });
    this.#hands.failures.bury(job, CONFLICT);
  }

  #leave(job: Job, death: Death): void {
    this.#hands.leave();
    this.#hands.failures.bury(job, death);
  }

  /** Runs without the inbox, but not past a parked key. */
  #unidentified(job: Job, event: "unguarded" | null): void {
    const start = (): void => {
      job.unguarded = true;
      if (event !== null) this.#runtime.events.emit({ type: event, ...this.#about(job) });
      this.#hands.start(job);
    };
    if (!job.inOrder || job.replay !== null) return start();
    this.#parking.unidentified(job, start);
  }

  async #end(job: Job, hold: Hold, outcome: Parameters<Claims["end"]>[1]): Promise<void> {
    const ours = await this.#claims.end(hold, outcome);
    this.#forget(job);
    if (!ours) throw this.fencedError(job);
  }

  #fenced(hold: Hold): void {
    const job = this.#jobs.get(hold);
    if (job === undefined) return;
    job.running?.abort(this.fencedError(job));
  }

  /** The claim ran out while its handler was at work, and another one has it. */
  fencedError(job: Job): TallyError<"fenced"> {
    return new TallyError(
      "fenced",
      `${this.#group} for ${job.subscription.topic.name}: the claim ran out, and another consumer has it`,
      {
        id: job.id ?? undefined,
        retryable: true,
      },
    );
  }

  #forget(job: Job): void {
    if (job.claim !== null) this.#jobs.delete(job.claim);
    job.claim = null;
  }

  #about(job: Job): { readonly topic: string; readonly group: string; readonly id: string | null } {
    return { topic: job.subscription.topic.name, group: this.#group, id: job.id };
  }
}
