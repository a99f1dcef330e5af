import { atMost, leave } from "../clock.ts";
import type { TallyError } from "../error.ts";
import type { PublisherStatus } from "../health/health.ts";
import type { Outgoing } from "../message.ts";
import type { TopicPlan } from "../port/topic-plan.ts";
import type { Runtime } from "../runtime.ts";
import type { InboxTransactions, PutResult } from "../stores.ts";
import type { Topic } from "../topic.ts";
import { Answers } from "./answers.ts";
import { Breakers } from "./breakers.ts";
import { Calls } from "./calls.ts";
import { Ends } from "./ends.ts";
import type { Taken } from "./intake.ts";
import { Wire } from "./lanes.ts";
import { type Own, type PublishOptions, type PublishPolicy, type Receipt, resendBackoff } from "./options.ts";
import { Relayed } from "./relayed.ts";
import { Senders } from "./senders.ts";
import { type Spill, Spilling } from "./spilling.ts";
import { Timers } from "./timers.ts";
import type { TopicLine } from "./topic-line.ts";
import { Topics } from "./topics.ts";
import { Transacted } from "./transacted.ts";
import { ENDED } from "./transitions.ts";
import { Turns } from "./turns.ts";
import { Verdicts } from "./verdicts.ts";

/**
 * Publishes messages and sees each to its end. It wires the rooms that a message goes through: {@link Calls}, {@link Turns},
 * then {@link Wire} and {@link Verdicts}, or {@link Spilling}, and {@link Ends}; with {@link Timers} beside all of them.
 */
export class Publisher {
  readonly #runtime: Runtime;
  readonly #answers: Answers;
  readonly #breakers: Breakers;
  readonly #calls: Calls;
  readonly #ends: Ends;
  readonly #relayed: Relayed;
  readonly #senders: Senders;
  readonly #spilling: Spilling | null;
  readonly #timers: Timers;
  readonly #topics: Topics;
  /** What handlers publish in their transactions; null where the inbox has none. */
  readonly transacted: Transacted | null;
  readonly #turns: Turns;
  readonly #verdicts: Verdicts;
  readonly #wire: Wire;

  /** @param transactions Those of `spill.transactions`, if that is given. */
  constructor(
    runtime: Runtime,
    policy: PublishPolicy,
    topics: readonly TopicPlan[],
    spill: Spill | null = null,
    transactions: InboxTransactions<unknown> | null = null,
  ) {
    const { inFlightPerLane, lingerMs } = runtime.transport.traits;
    const health = (): void => this.#spilling?.health();
    this.#runtime = runtime;
    // Each room gets those before it; of those after it, it says what it wants to have done.
    this.#answers = new Answers({
      runtime,
      deadline: policy.deadline,
      aborted: (caller, error) => this.#ends.giveUp(caller, error),
    });
    this.#breakers = new Breakers({
      runtime,
      policy: { after: policy.breakerAfter, wait: { min: policy.breakerMin, max: policy.breakerMax } },
      waiting: () => this.#ends.waiting(),
      spills: (entry) => this.#spilling?.spills(entry) === true,
      spill: (entry) => this.#spilling?.spill(entry),
      enter: (entry) => this.#turns.enter(entry),
      left: (entry) => this.#turns.putOut(entry),
      withdraw: (entry) => this.#relayed.withdraw(entry),
      limited: (topics) => this.#spilling?.limit(topics),
    });
    this.#topics = new Topics(
      {
        runtime,
        isOpen: () => this.#senders.current !== null,
        ready: (entry) => this.#wire.add(entry),
        refused: (entry, error) => this.#ends.release(entry, error, true),
        undeclared: (line, late) => this.#breakers.undeclared(line, late),
      },
      topics,
    );
    this.#senders = new Senders({
      runtime,
      drainWithin: policy.confirmTimeout,
      declare: (signal) => this.#topics.declareAll(signal),
      confirm: (signal) => this.#topics.confirm(signal),
      opened: () => {
        this.#topics.opened();
        this.#wire.resume(true);
        health();
      },
      dropped: () => {
        this.#topics.dropped();
        this.#wire.lost();
        health();
      },
      retired: health,
      blocked: health,
      unblocked: () => {
        this.#wire.resume(false);
        health();
      },
      verdict: (batch, index, verdict) => this.#verdicts.verdict(batch, index, verdict),
    });
    this.#wire = new Wire({
      senders: this.#senders,
      inFlightPerLane,
      linger: lingerMs === 0 ? null : (over) => void runtime.clock.after(lingerMs, over),
      sent: (entry) => this.#verdicts.sent(entry),
      undeclared: (entry) => this.#topics.wait(entry),
      health,
    });
    this.#turns = new Turns({
      policy,
      breakers: this.#breakers,
      topics: this.#topics,
      wire: this.#wire,
      takes: (entry) => this.#spilling?.takes(entry) === true,
    });
    this.#timers = new Timers({
      runtime,
      confirmTimeout: policy.confirmTimeout,
      senders: this.#senders,
      wire: this.#wire,
      missed: (caller, error) => this.#ends.giveUp(caller, error),
      again: (entry) => this.#turns.route(entry),
      silent: (entry) => this.#ends.abandon(entry),
    });
    this.#relayed = new Relayed({
      runtime,
      topics: this.#topics,
      turns: this.#turns,
      begin: (entry) => this.#ends.begin(entry),
      end: (entry) => this.#ends.end(entry),
    });
    const shared = { runtime, breakers: this.#breakers, timers: this.#timers, wire: this.#wire };
    this.#ends = new Ends({ ...shared, answers: this.#answers, relayed: this.#relayed, turns: this.#turns });
    this.#verdicts = new Verdicts({ ...shared, backoff: resendBackoff(policy), ends: this.#ends });
    const spilling =
      spill === null
        ? null
        : new Spilling({
            ...shared,
            spill,
            ends: this.#ends,
            relayed: this.#relayed,
            senders: this.#senders,
            turns: this.#turns,
          });
    this.#spilling = spilling;
    this.transacted =
      transactions === null || spilling?.transactions == null
        ? null
        : new Transacted({
            runtime,
            transactions,
            outbox: spilling.transactions,
            slot: (topic, key) => spilling.slot(topic, key),
            mayTransact: (slot) => spilling.mayTransact(slot),
          });
    this.#calls = new Calls({
      runtime,
      answers: this.#answers,
      ends: this.#ends,
      spilling,
      timers: this.#timers,
      topics: this.#topics,
      transacted: this.transacted,
      turns: this.#turns,
    });
  }

  /** Messages not yet at their end. */
  get live(): number {
    return this.#ends.live;
  }

  /** Topics whose breaker is not closed. */
  get breakers(): Breakers["open"] {
    return this.#breakers.open;
  }

  /** For `health()`. */
  status(): PublisherStatus {
    let oldest: number | null = null;
    // What comes from an outbox is as old as its row, and counted there.
    for (const { relayed, state, since } of this.#ends.waiting())
      if (relayed === null && state !== ENDED && (oldest === null || since < oldest)) oldest = since;
    const { current, downSince, trouble } = this.#senders;
    return {
      destination: this.#runtime.transport.name,
      downSince,
      trouble,
      blockedSince: current?.blocked === true ? current.blockedSince : null,
      oldestSince: oldest,
      breakers: this.breakers,
    };
  }

  /** How the first try to open a session ended. */
  get first(): Promise<void> {
    return this.#senders.first;
  }

  /** What is published to so far. */
  get topics(): readonly Pick<TopicLine, "plan" | "outboxMs">[] {
    return this.#topics.lines;
  }

  /** Of a topic that `openTally()` was given. */
  get refusal(): TallyError | null {
    return this.#topics.refusal;
  }

  /** @param own What core's own messages say of themselves, where a user's call has no say. */
  publish<In>(topic: Topic<In, unknown>, body: In, options?: PublishOptions, own?: Own): Promise<Receipt> {
    return this.#calls.publish(topic, body, options, own);
  }

  // ── half messages: stored elsewhere, and not yet sent ───────────────────────

  /** A topic that will be sent to. @throws TallyError `bad-config` when it is known with another order */
  know(topic: Topic<never, unknown>): void {
    this.#topics.line(topic);
  }

  /** See {@link Calls.draft}. @throws TallyError */
  draft(topic: Topic<never, unknown>, body: unknown, options: PublishOptions): Taken {
    return this.#calls.draft(topic, body, options);
  }

  slot(topic: string, key: string | null): number {
    return this.#spilling?.slot(topic, key) ?? 0;
  }

  /** See {@link Calls.inTurn}. */
  inTurn(message: Outgoing, put: () => Promise<PutResult>): void {
    this.#calls.inTurn(message, put);
  }

  /** There is a new row in the outbox's store. */
  stored(): void {
    this.#spilling?.stored();
  }

  /** Rows of the outbox are not parked any more, or gone, by a person's word. */
  rowsChanged(): void {
    this.#spilling?.rowsChanged();
  }

  /** No new messages; resolves when the last one is at its end, or at the limit, when the rest is abandoned. Gives how many that were. */
  async close(within: number): Promise<number> {
    const { clock } = this.#runtime;
    const until = clock.now() + within;
    this.#calls.close();
    this.#spilling?.finish();
    if (this.live > 0) await atMost(clock, within, this.#ends.idle());
    // A store that does not answer keeps nobody: what it was given may be stored, and its callers are told so.
    await leave(clock, until, this.#spilling?.close() ?? Promise.resolve());
    this.#topics.stop();
    this.#breakers.stop();
    const abandoned = this.#ends.close();
    await leave(clock, until, this.#senders.close());
    return abandoned;
  }
}
