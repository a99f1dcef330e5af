import { atMost } from "../clock.ts";
import { TallyError } from "../error.ts";
import { idOf } from "../message.ts";
import type { Runtime } from "../runtime.ts";
import { SessionKeeper } from "../session/keeper.ts";
import type { SubscriptionStatus } from "../health/health.ts";
import { creditFor, largestOf } from "../memory.ts";
import type { AuditSubject } from "../port/audit.ts";
import type { Delivery } from "../port/receiving.ts";
import type { TopicPlan } from "../port/topic-plan.ts";
import type { Topic } from "../topic.ts";
import { Job } from "./attempt.ts";
import type { Attempts } from "./attempts.ts";
import type { Members } from "./members.ts";
import type { ConsumerPolicy, Handler } from "./options.ts";
import type { ConsumerPorts } from "./ports.ts";
import { type Sample, SAMPLE, step, tripped } from "./schema-guard.ts";
import { ReceiverSession } from "./session.ts";

export interface SubscriptionOptions {
  readonly topic: Topic<never, unknown>;
  readonly handler: Handler<unknown>;
  readonly group: string;
  /** Name of the consumer in the broker's listings. */
  readonly consumer: string;
  readonly members: Members | null;
  readonly policy: ConsumerPolicy;
  readonly runtime: Runtime;
  readonly attempts: Attempts;
  readonly audit: ConsumerPorts["audit"];
  /** See `AuditSubject`. */
  readonly remembersMs: number | null;
}

// Of bodies that failed, so that one which comes again and again is not taken for many.
const KNOWN_FAILURES = 100;

// What another try would not change, unless a person does something first.
const FINAL: ReadonlySet<string> = new Set(["topology", "unsupported", "unauthorized", "bad-config", "unsafe"]);

/**
 * One topic of a consumer: keeps a receiver session open, and turns deliveries into jobs.
 *
 * When its schema fails too much of what comes (schema-guard.ts), it *leaves*: what runs is let finish and is settled,
 * what has not begun is given back, and the session is closed, until `resume`. So the broker has all of it: another member
 * of the group whose schema is right goes on with it, no credit is held, and no lost session can begin it again.
 */
export class TopicSubscription {
  readonly topic: Topic<never, unknown>;
  readonly handler: Handler<unknown>;
  readonly group: string;
  /** The heads of this topic's keys, for {@link Lanes}. */
  readonly keys: Map<string, Job> = new Map();
  /** Settles with the first try that succeeds, or with the first that another try would not change. */
  readonly ready: Promise<void>;
  readonly #o: SubscriptionOptions;
  readonly #what: string;
  readonly #first: PromiseWithResolvers<void> = Promise.withResolvers<void>();
  #keeper: SessionKeeper<ReceiverSession>;
  #session: ReceiverSession | null = null;
  #stopped = false;
  #started = false;
  #unidentified = false;
  #sample: Sample = SAMPLE;
  readonly #failures: Set<string> = new Set();
  /** Since it was paused by its schema. */
  #leaving: Promise<void> | null = null;

  constructor(options: SubscriptionOptions) {
    this.#o = options;
    this.topic = options.topic;
    this.handler = options.handler;
    this.group = options.group;
    this.#what = `${options.topic.name} / ${options.group}`;
    this.ready = this.#first.promise;
    this.ready.catch(() => {}); // who waits for it handles it; nobody may be waiting any more at a close
    this.#keeper = this.#keep();
  }

  #keep(): SessionKeeper<ReceiverSession> {
    const { runtime } = this.#o;
    const keeper = new SessionKeeper<ReceiverSession>({
      role: "receive",
      what: this.#what,
      clock: runtime.clock,
      random: runtime.random,
      events: runtime.events,
      backoff: runtime.reconnect,
      connectWithin: runtime.connectWithin,
      open: (_epoch, lost, signal) => this.#open(lost, signal),
      opened: (session) => {
        this.#session = session;
        this.#started = true;
        this.#first.resolve();
        session.use();
      },
      dropped: () => {
        const leaving = this.#session?.leaving === true;
        this.#session = null;
        this.forget();
        if (leaving) void keeper.close();
      },
    });
    return keeper;
  }

  /** Deliveries in hand, at most. */
  get credit(): number {
    const { policy, runtime } = this.#o;
    return policy.credit ?? creditFor(policy.lanes, largestOf(this.topic, runtime.transport.traits));
  }

  /** For `health()`. */
  status(): SubscriptionStatus {
    const { downSince, trouble } = this.#keeper;
    return { what: this.#what, downSince, trouble, paused: this.#leaving !== null };
  }

  /** For the audit. */
  get subject(): AuditSubject {
    const { policy, group, remembersMs } = this.#o;
    const { attempts, retryMax, processingDeadline } = policy;
    const holdsMs = attempts * processingDeadline + (attempts - 1) * retryMax;
    return { topic: this.#plan, group, holdsMs, attempts, outboxMs: 0, remembersMs };
  }

  /** Deliveries of a session in use, in the order of the wire. */
  deliver(session: ReceiverSession, batch: readonly Delivery[]): void {
    if (this.#stopped || session.leaving) return; // unsettled: they come again elsewhere
    const { attempts, policy } = this.#o;
    for (const delivery of batch) {
      const { message } = delivery;
      if (idOf(message) === null && delivery.place === null && policy.id === null && !this.#unidentified) {
        this.#unidentified = true;
        this.#o.runtime.events.emit({ type: "unidentified", topic: this.topic.name, group: this.group });
      }
      if (this.topic.ordered && message.key !== null) {
        const why = session.away.arrived(message.key, message, delivery.count);
        if (why !== null) {
          attempts.failures.releases.turnBack(new Job(session, delivery), why);
          continue;
        }
      }
      attempts.lanes.add(new Job(session, delivery));
    }
    attempts.lanes.pump();
  }

  /** A body could be read. */
  readable(): void {
    this.#sample = step(this.#sample, true);
  }

  /** A body could not be read. True: that was one too many, and nothing of this session is decided any more. */
  unreadable({ session: source, delivery: { message, count } }: Job, error: TallyError): boolean {
    // Replays are not asked about.
    const of = source as ReceiverSession;
    if (of.leaving) return true;
    if (!this.#o.policy.schemaGuard || (count ?? 1) > 1) return false;
    const known = message.id === null ? null : `${message.producer ?? ""}\0${message.id}`;
    if (known !== null && this.#failures.has(known)) return false;
    if (known !== null) this.#failures.add(known);
    if (this.#failures.size > KNOWN_FAILURES) this.#failures.delete(this.#failures.values().next().value!);
    this.#sample = step(this.#sample, false);
    if (!tripped(this.#sample)) return false;
    const { failed, bodies } = this.#sample;
    // A slow schema may outlive its session.
    const session = this.#session ?? of;
    // None is to be opened while what runs is let finish.
    if (this.#session === null) void this.#keeper.close();
    of.leaving = session.leaving = true;
    this.#leaving = this.#leave(session);
    this.#o.runtime.events.emit({
      type: "subscription-paused",
      topic: this.topic.name,
      group: this.group,
      failed,
      bodies,
      error,
    });
    return true;
  }

  /** Ends the pause that its schema led to: another session, and another sample. */
  async resume(): Promise<void> {
    if (this.#leaving === null || this.#stopped) return;
    const left = this.#leaving;
    this.#leaving = null;
    this.#sample = SAMPLE;
    this.#failures.clear();
    this.#o.runtime.events.emit({ type: "subscription-resumed", topic: this.topic.name, group: this.group });
    await left;
    if (!this.#stopped) this.#keeper = this.#keep();
  }

  /** What runs is let finish: its effect is there, and its ack must not be lost. */
  async #leave(session: ReceiverSession): Promise<void> {
    const { attempts, policy, runtime } = this.#o;
    attempts.leave(session);
    const settled = Promise.allSettled([session.stop(), attempts.left(session)]);
    await atMost(runtime.clock, policy.processingDeadline, settled);
    session.flush();
    await atMost(runtime.clock, policy.processingDeadline, this.#keeper.close());
    session.end();
    if (this.#session === session) this.#session = null;
    this.forget();
  }

  /** Drops what waits and can no longer be settled. */
  forget(): void {
    this.#o.attempts.forget(this.keys);
  }

  revoking(session: ReceiverSession, epoch: number, lanes: readonly number[]): Promise<void> {
    return this.#o.attempts.drained(
      ({ session: of, delivery }) => of === session && delivery.epoch <= epoch && lanes.includes(delivery.lane),
    );
  }

  unsettled(deliveries: number, error: TallyError): void {
    this.#o.runtime.events.emit({ type: "unsettled", topic: this.topic.name, group: this.group, deliveries, error });
  }

  gap(lane: number, from: string, to: string): void {
    this.#o.runtime.events.emit({ type: "gap", topic: this.topic.name, group: this.group, lane, from, to });
  }

  surfaced(text: string): void {
    this.#o.runtime.events.emit({ type: "surfaced", what: this.#what, text });
  }

  /** No more deliveries are taken in; those out can be settled. Resolves when the receiver has stopped. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#first.reject(new TallyError("closed", `${this.#what}: the consumer is closed`));
    await this.#session?.stop();
  }

  /** Flushes settlements and leaves. */
  async close(): Promise<void> {
    this.#stopped = true;
    this.#session?.flush();
    await this.#keeper.close();
    await this.#leaving;
    this.#session?.end();
    this.#session = null;
  }

  get #plan(): TopicPlan {
    const { name, ordered, groups } = this.topic;
    return { name, ordered, groups: groups.includes(this.group) ? groups : [...groups, this.group] };
  }

  async #open(lost: (error: TallyError) => void, signal: AbortSignal): Promise<ReceiverSession> {
    const { runtime, group, consumer } = this.#o;
    const { name } = this.topic;
    const plan = this.#plan;
    const seat = this.#o.members?.sit(name, group, consumer) ?? null;
    const session = new ReceiverSession(this, () => runtime.clock.now(), lost, seat);
    try {
      await runtime.transport.admin.declare([plan], signal);
      // At its start only: one that is at work stays, or two that differ would both end at the next outage.
      if (!this.#started) await seat?.checked;
      session.opened(
        await runtime.transport.openReceiver(
          { topic: plan, group, credit: this.credit, consumer },
          session.events,
          signal,
        ),
      );
      // Its queue is there now, and nothing that came by it has been begun.
      if (!this.#started) await this.#o.audit(`consumer ${JSON.stringify(group)}`, [this.subject]);
      return session;
    } catch (error) {
      void session[Symbol.asyncDispose]().catch(() => {});
      if (TallyError.is(error) && !error.retryable && FINAL.has(error.code)) this.#first.reject(error);
      throw error;
    }
  }
}
