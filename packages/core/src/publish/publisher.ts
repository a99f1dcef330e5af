// One thing: the life of a message from `publish()` to its end; the parts it is made of are in the files beside it.
import { fullJitter, type Backoff } from "../backoff.ts";
import { atMost } from "../clock.ts";
import type { Outgoing } from "../message.ts";
import { type ErrorCode, TallyError } from "../error.ts";
import { failpoint } from "../failpoints.ts";
import type { Runtime } from "../runtime.ts";
import type { SchemaResult } from "../schema.ts";
import type { PublisherStatus } from "../health/health.ts";
import type { Verdict } from "../port/sending.ts";
import type { TopicPlan } from "../port/topic-plan.ts";
import type { InboxTransactions, PutResult } from "../stores.ts";
import type { Topic } from "../topic.ts";
import { Answers } from "./answers.ts";
import type { Caller } from "./callers.ts";
import { Breakers } from "./breakers.ts";
import { Entry } from "./entry.ts";
import { take, type Taken } from "./intake.ts";
import { Wire } from "./lanes.ts";
import { type Own, type PublishOptions, type PublishPolicy, type Receipt, resendBackoff } from "./options.ts";
import { asError, assertValid } from "./rejections.ts";
import { type Batch, Senders } from "./senders.ts";
import { type Spill, Spilling } from "./spilling.ts";
import { type TopicLine, Topics } from "./topics.ts";
import { Transacted } from "./transacted.ts";
import { BACKOFF, DRAINING, ENDED, HELD, next, OVERDUE, SPILLING, WAITING, WIRE } from "./transitions.ts";
import { TimingWheel } from "./wheel.ts";
import { Window } from "./window.ts";

/** Milliseconds: the precision of time-outs and back-offs. */
const TICK = 10;

/** Milliseconds: a close whose messages used up all its time still says good-bye to the broker. */
const LEAVE_WITHIN = 1_000;

/** Publishes messages and sees each to its end: accepted, rejected, withdrawn, or carried on in the background. */
export class Publisher {
  readonly #runtime: Runtime;
  readonly #policy: PublishPolicy;
  readonly #backoff: Backoff;
  readonly #window: Window<Entry>;
  readonly #wheel: TimingWheel<Entry>;
  readonly #senders: Senders;
  readonly #wire: Wire;
  readonly #topics: Topics;
  readonly #answers: Answers;
  readonly #spilling: Spilling | null;
  /** What handlers publish in their transactions; null where the inbox has none. */
  readonly transacted: Transacted | null;
  readonly #breakers: Breakers;
  /** Without a caller, and sent on in the background: no timer finds those that only wait. */
  readonly #carried: Set<Entry> = new Set();
  /** `closing`: nothing new is taken. `closed`: nothing is carried on any more. */
  #stage: "open" | "closing" | "closed" = "open";
  #live = 0;
  #idle: (() => void) | null = null;

  /** @param transactions Those of `spill.transactions`, if that is given. */
  constructor(
    runtime: Runtime,
    policy: PublishPolicy,
    topics: readonly TopicPlan[],
    spill: Spill | null = null,
    transactions: InboxTransactions<unknown> | null = null,
  ) {
    this.#runtime = runtime;
    this.#policy = policy;
    this.#backoff = resendBackoff(policy);
    this.#window = new Window(
      policy.window,
      policy.windowBytes,
      (entry) => this.#admitted(entry),
      (entry) => this.#breakers.keepsOut(entry),
    );
    this.#breakers = new Breakers({
      runtime,
      policy: { after: policy.breakerAfter, wait: { min: policy.breakerMin, max: policy.breakerMax } },
      waiting: () => this.#waiting(),
      spills: (entry) => this.#spilling?.spills(entry) === true,
      spill: (entry) => this.#spilling?.spill(entry),
      enter: (entry) => this.#window.enter(entry),
      left: (entry) => {
        entry.inWindow = false;
        this.#window.leave(entry.bytes);
      },
      withdraw: (entry) => this.#spilling?.withdraw(entry),
      limited: (topics) => this.#spilling?.limit(topics),
    });
    this.#wheel = new TimingWheel(runtime.clock, TICK, (entry) => this.#due(entry));
    this.#answers = new Answers({
      runtime,
      deadline: policy.deadline,
      aborted: (caller, error) => this.#giveUp(caller, error),
    });
    this.#topics = new Topics(
      {
        runtime,
        isOpen: () => this.#senders.current !== null,
        ready: (entry) => this.#wire.add(entry),
        refused: (entry, error) => this.#release(entry, error, true),
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
        this.#spilling?.health();
      },
      dropped: () => {
        this.#topics.dropped();
        this.#wire.lost();
        this.#spilling?.health();
      },
      retired: () => this.#spilling?.health(),
      blocked: () => this.#spilling?.health(),
      unblocked: () => {
        this.#wire.resume(false);
        this.#spilling?.health();
      },
      verdict: (batch, index, verdict) => this.#verdict(batch, index, verdict),
    });
    const { lingerMs } = runtime.transport.traits;
    this.#wire = new Wire({
      senders: this.#senders,
      inFlightPerLane: runtime.transport.traits.inFlightPerLane,
      linger: lingerMs === 0 ? null : (over) => void runtime.clock.after(lingerMs, over),
      sent: (entry) => this.#sent(entry),
      undeclared: (entry) => this.#topics.wait(entry),
      health: () => this.#spilling?.health(),
    });
    this.#spilling =
      spill === null
        ? null
        : new Spilling({
            runtime,
            spill,
            verdictWithin: policy.confirmTimeout,
            senders: this.#senders,
            wire: this.#wire,
            topics: this.#topics,
            waiting: () => this.#waiting(),
            bars: (entry) => this.#breakers.bars(entry),
            route: (entry) => this.#route(entry),
            arm: (entry) => this.#arm(entry),
            reject: (entry) => this.#reject(entry),
            stored: (entry, proof) => this.#answers.accept(entry, proof, "stored"),
            end: (entry) => this.#end(entry),
            relay: (entry) => {
              this.#live++;
              if (entry.message.ordered) entry.line.lineUp(entry);
              this.#window.enterFirst(entry);
            },
          });
    const spilling = this.#spilling;
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
  }

  /** Messages not yet at their end. */
  get live(): number {
    return this.#live;
  }

  /** Topics whose breaker is not closed. */
  get breakers(): Breakers["open"] {
    return this.#breakers.open;
  }

  /** For `health()`. */
  status(): PublisherStatus {
    let oldest: number | null = null;
    // What comes from an outbox is as old as its row, and counted there.
    for (const { relayed, state, since } of this.#waiting())
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

  // ── half messages: stored elsewhere, and not yet sent ───────────────────────

  /** A topic that will be sent to. @throws TallyError `bad-config` when it is known with another order */
  know(topic: Topic<never, unknown>): void {
    this.#topics.line(topic);
  }

  /** Checks a call as `publish()` does, and numbers its message. @throws TallyError */
  draft(topic: Topic<never, unknown>, body: unknown, options: PublishOptions): Taken {
    try {
      if (this.#stage !== "open") throw new TallyError("closed", "after close()", { id: options.id });
      const taken = take(this.#runtime, topic, body as never, options);
      taken.message.seq = ++this.#topics.line(topic).seq;
      return taken;
    } catch (thrown) {
      throw this.#answers.refuse(topic.name, options, thrown);
    }
  }

  slot(topic: string, key: string | null): number {
    return this.#spilling?.slot(topic, key) ?? 0;
  }

  /** A message that the outbox's store has already takes its place among those of its key; `put` makes it a row in its turn. */
  inTurn(message: Outgoing, put: () => Promise<PutResult>): void {
    if (this.#stage === "closed" || this.#spilling === null) return;
    const { topic: name, ordered, key } = message;
    const entry = new Entry(this.#topics.line({ name, ordered, groups: [] }), { ...message });
    entry.mode = "always";
    entry.slot = ordered ? this.#spilling.slot(name, key) : null;
    entry.put = put;
    entry.validated = true;
    this.#live++;
    this.#carried.add(entry);
    if (ordered) entry.line.lineUp(entry);
    this.#window.enter(entry);
  }

  /** There is a new row in the outbox's store. */
  stored(): void {
    this.#spilling?.stored();
  }

  // ── a call comes in ─────────────────────────────────────────────────────────

  /** @param own What core's own messages say of themselves, where a user's call has no say. */
  publish<In>(topic: Topic<In, unknown>, body: In, options?: PublishOptions, own: Own | null = null): Promise<Receipt> {
    let taken: Taken;
    let known: TopicLine;
    let line: TopicLine;
    try {
      if (this.#stage !== "open") throw new TallyError("closed", "publish() after close()", { id: options?.id });
      taken = take(this.#runtime, topic, body, options, own);
      known = this.#topics.line(topic);
      if (options !== undefined && "tx" in options) return this.#transact(topic, known, taken, options);
      const { delayMs } = taken.message;
      line = delayMs === 0 ? known : this.#topics.delayed(topic, delayMs);
    } catch (thrown) {
      return Promise.reject(this.#answers.refuse(topic.name, options, thrown));
    }
    const { message, verdict } = taken;
    // Two groups may each want a copy of one message: such copies join nobody.
    const named = options?.id !== undefined && message.group === null;
    if (named) {
      const first = line.byId.get(message.id);
      // One at its end may still stand there while its last events go out: a listener may publish.
      if (first !== undefined && first.state !== ENDED) {
        // The same body has the same verdict, and the first call waits for it.
        verdict?.then(undefined, () => {});
        return this.#join(first, taken, options);
      }
    }

    failpoint("publisher.called");
    const entry = new Entry(line, message, taken.given);
    this.#spilling?.fence(entry, topic);
    if (message.seq === 0) message.seq = ++known.seq;
    entry.since = this.#runtime.clock.now();
    this.#live++;
    if (named) line.byId.set(message.id, entry);
    if (message.ordered) line.lineUp(entry);
    const caller = this.#answers.call(entry, options);
    entry.caller = caller;
    if (verdict === null) entry.validated = true;
    else this.#await(entry, verdict);
    // Into the window in the order of the calls, also while validation is under way: else one key's later messages could
    // fill the window and wait in it for the first, which would wait for the window.
    this.#window.enter(entry);
    if (entry.prev === null && entry.state !== ENDED) this.#arm(entry);
    return caller.promise;
  }

  #transact(topic: Topic<never, unknown>, line: TopicLine, taken: Taken, options: PublishOptions): Promise<Receipt> {
    if (this.transacted !== null) return this.transacted.publish(topic, line, taken, options);
    throw new TallyError("bad-config", "publish: tx needs an inbox with transactions, given to openTally", {
      id: taken.message.id,
    });
  }

  #admitted(entry: Entry): void {
    entry.inWindow = true;
    if (entry.state === WAITING) this.#route(entry);
    else this.#advance(entry);
  }

  /** Every message between its call and its end, rows on their way too, except those that only wait for the window. */
  #waiting(): Entry[] {
    return [...this.#wheel.items(), ...this.#carried, ...(this.#spilling?.relayed ?? [])];
  }

  /** Sends a held message on its way if nothing holds it any more. */
  #advance(entry: Entry): void {
    if (entry.state === HELD && !entry.inWindow) this.#breakers.invite(entry.line);
    if (entry.state !== HELD || !entry.validated || !entry.inWindow) return;
    if (entry.message.ordered && !entry.line.isHead(entry)) return;
    entry.state = next(entry.state, "ready");
    this.#route(entry);
  }

  /** To the broker, into the outbox, or nowhere until the outbox says so. */
  #route(entry: Entry): void {
    if (!entry.inWindow) {
      // Its breaker put it out. One that stands in no line meanwhile asks to be let in.
      if (entry.queue === null) this.#window.enter(entry);
      else this.#breakers.invite(entry.line);
    } else if (this.#spilling?.takes(entry) !== true) this.#enqueue(entry);
  }

  #enqueue(entry: Entry): void {
    if (this.#breakers.holds(entry)) return;
    if (entry.line.ready) this.#wire.add(entry);
    else this.#topics.wait(entry);
  }

  /** The same id published again: the same body joins the call in flight, another one is a conflict. */
  #join(entry: Entry, taken: Taken, options: PublishOptions | undefined): Promise<Receipt> {
    const { topic, id } = taken.message;
    try {
      this.#answers.assertSame(entry, taken);
    } catch (thrown) {
      return Promise.reject(this.#answers.refuse(topic, options, thrown));
    }
    this.#runtime.events.emit({ type: "joined", topic, id });
    const caller = this.#answers.call(entry, options);
    const first = entry.caller;
    if (first === null) this.#adopt(entry, caller);
    else if (this.#answers.join(entry, first, caller)) this.#arm(entry);
    return caller.promise;
  }

  /** Its copies are still out, so this is the same message, with a caller again. */
  #adopt(entry: Entry, caller: Caller): void {
    entry.caller = caller;
    // No more copies were to come; if the last one has had its answer, another one must.
    const again = entry.state === DRAINING && entry.batch === null;
    entry.state = next(entry.state, again ? "adoptedAgain" : "adopted");
    this.#carried.delete(entry);
    this.#arm(entry);
    if (again) this.#route(entry);
  }

  #await(entry: Entry, verdict: PromiseLike<SchemaResult<unknown>>): void {
    const failed = (thrown: unknown): void => this.#release(entry, asError(thrown, entry.message.id));
    verdict.then((result) => {
      try {
        assertValid(entry.message, result);
      } catch (invalid) {
        return failed(invalid);
      }
      entry.validated = true;
      this.#advance(entry);
    }, failed);
  }

  // ── copies ──────────────────────────────────────────────────────────────────

  #sent(entry: Entry): void {
    entry.copies++;
    entry.open++;
    entry.actAt = this.#runtime.clock.now() + this.#policy.confirmTimeout;
    this.#arm(entry);
    if (entry.copies > 1) {
      const because: ErrorCode = entry.lastError?.code ?? "in-doubt";
      this.#runtime.events.emit({
        type: "resend",
        topic: entry.message.topic,
        id: entry.message.id,
        copy: entry.copies,
        because,
      });
    }
  }

  #verdict(batch: Batch, index: number, verdict: Verdict): void {
    const entry = batch.entries[index];
    if (entry === undefined) return;
    entry.open--;
    const last = entry.batch === batch;
    if (last) entry.batch = null;
    if (entry.state === ENDED) this.#wheel.disarm(entry);
    if (verdict.kind === "accepted") {
      this.#wire.answer(batch, true);
      this.#breakers.answered(entry.line);
      const was = entry.state;
      entry.state = next(was, "accepted");
      // A row has no caller, and is as punctual as any.
      if (was === ENDED || (entry.caller === null && entry.relayed === null)) this.#late(entry, verdict.kind);
      if (was !== ENDED) {
        if (entry.relayed === null) failpoint("publisher.accepted");
        this.#answers.accept(entry, verdict.proof, "confirmed");
        entry.relayed?.({ is: "accepted", proof: verdict.proof });
        this.#end(entry);
      }
      return;
    }
    // "Later" can leave a doubt as well: of several queues behind one copy, some may have taken it.
    if (verdict.kind === "doubt" || verdict.error.mayArrive) entry.doubted = true;
    // A message that drains has its reason already: the definite no that ended its sending.
    if (entry.state !== DRAINING) entry.lastError = verdict.error;
    if (entry.state === ENDED) this.#late(entry, verdict.kind);
    else this.#notAccepted(entry, last, verdict);
    this.#wire.answer(batch, verdict.kind !== "doubt" && verdict.kind !== "unsent");
  }

  /** @param newest It was the last copy sent. */
  #notAccepted(entry: Entry, newest: boolean, verdict: Exclude<Verdict, { kind: "accepted" }>): void {
    const last = entry.open === 0;
    const decides = newest && (entry.state === WIRE || entry.state === OVERDUE);
    if (!decides) {
      entry.state = next(entry.state, last ? "oldFailedLast" : "oldFailed");
      if (entry.state === ENDED) this.#reject(entry);
    } else if (verdict.kind === "refused" || verdict.kind === "unroutable") {
      this.#breakers.answered(entry.line);
      entry.state = next(entry.state, last ? "refusedLast" : "refused");
      if (entry.state === ENDED) this.#reject(entry);
      else this.#drain(entry);
    } else {
      entry.state = next(entry.state, "failed");
      if (entry.state !== BACKOFF) return; // overdue: another copy is due already
      entry.failures++;
      const wait = this.#waitFor(entry, verdict);
      if (wait === 0) return this.#again(entry);
      entry.actAt = this.#runtime.clock.now() + wait;
      this.#arm(entry);
      // A window that was nacked at one moment is one failure many times over: it counts when it is nacked again.
      if (verdict.kind === "later" && entry.failures > 1) this.#breakers.failed(entry);
      if (entry.state === BACKOFF) this.#breakers.backedOff(entry);
    }
  }

  /** Siblings of a lost session are resent at once; whoever fails again and again backs off. */
  #waitFor(entry: Entry, verdict: Exclude<Verdict, { kind: "accepted" }>): number {
    const { random } = this.#runtime;
    if (verdict.kind === "later")
      return Math.max(verdict.afterMs, fullJitter(this.#backoff, entry.failures, random), 1);
    return entry.failures === 1 ? 0 : Math.max(1, fullJitter(this.#backoff, entry.failures - 1, random));
  }

  #again(entry: Entry): void {
    entry.state = next(entry.state, "due");
    this.#arm(entry);
    this.#route(entry);
  }

  // ── time ────────────────────────────────────────────────────────────────────

  #arm(entry: Entry): void {
    const { state, caller } = entry;
    const waits = state === HELD || state === WAITING || state === OVERDUE || state === SPILLING;
    const act = waits ? Number.POSITIVE_INFINITY : entry.actAt;
    const due = caller === null ? act : Math.min(act, caller.deadlineAt);
    if (due === Number.POSITIVE_INFINITY) this.#wheel.disarm(entry);
    else this.#wheel.arm(entry, due);
  }

  /** After users' code has run: that may have ended it. */
  #rearm(entry: Entry): void {
    if (entry.state !== ENDED) this.#arm(entry);
  }

  #due(entry: Entry): void {
    const now = this.#runtime.clock.now();
    const { id } = entry.message;
    while (entry.caller !== null && now >= entry.caller.deadlineAt) {
      this.#giveUp(
        entry.caller,
        new TallyError("deadline", `no verdict for ${id} in time; ${entry.copies} copies sent`, {
          id,
          retryable: true,
          cause: entry.lastError ?? undefined,
        }),
      );
    }
    if (entry.state === ENDED && entry.batch?.session !== this.#senders.current) return;
    if (entry.state === BACKOFF && now >= entry.actAt) return this.#again(entry);
    if ((entry.state === WIRE || entry.state === DRAINING || entry.state === ENDED) && now >= entry.actAt)
      return this.#overdue(entry, now);
    this.#arm(entry);
  }

  #overdue(entry: Entry, now: number): void {
    const { confirmTimeout } = this.#policy;
    const { resendsInSession } = this.#runtime.transport.traits;
    const session = entry.batch?.session ?? null;
    // While the broker has said that it reads nothing, silence means nothing, and a successor would be as deaf.
    const since = session === null ? 0 : session.blocked ? now : session.readingSince;
    // A retired session ends its copies when its time is up.
    const ending = session === null && !resendsInSession;
    if (ending || since + confirmTimeout > now) {
      entry.actAt = (ending ? now : since) + confirmTimeout;
      return this.#arm(entry);
    }
    const { topic, id } = entry.message;
    this.#runtime.events.emit({ type: "overdue", topic, id, afterMs: confirmTimeout });
    this.#wire.overdue(entry);
    if (entry.state === DRAINING) {
      if (resendsInSession) return this.#abandon(entry);
      entry.actAt = now + confirmTimeout;
    } else if (entry.state !== ENDED) {
      entry.state = next(entry.state, "overdue");
      this.#wire.add(entry);
    }
    this.#rearm(entry);
    if (!resendsInSession && session !== null && session === this.#senders.current) this.#senders.retire();
  }

  // ── ends ────────────────────────────────────────────────────────────────────

  /** Answers one caller now; with the last one the message is released. */
  #giveUp(caller: Caller, error: TallyError): void {
    const { entry } = caller;
    if (!this.#answers.leave(caller)) return this.#release(entry, error);
    this.#arm(entry);
    // The message goes on for the others.
    this.#answers.rejectOne(caller, error, true);
  }

  /**
   * Answers all callers now. What may be dropped is; an ordered message that may have left is carried to its end.
   * @param forGood No copy can go out any more: nothing is carried.
   */
  #release(entry: Entry, error: TallyError, forGood = this.#stage === "closed"): void {
    if (entry.state === ENDED) return;
    if (entry.relayed !== null) return this.#refuseRelayed(entry, error);
    if (entry.state === SPILLING) {
      // Its row is being written, and what is written is sent.
      this.#answers.reject(entry, error, true);
      return this.#rearm(entry);
    }
    const mayArrive = entry.open > 0 || entry.doubted;
    const dropped = forGood || !mayArrive || !entry.message.ordered;
    // The new state before the answers: their events reach users' code, which may publish the same id in that very call.
    if (dropped && entry.open === 0) {
      entry.state = next(entry.state, "withdrawnLast");
      this.#answers.reject(entry, error, mayArrive);
      this.#end(entry);
    } else {
      if (dropped) this.#drain(entry);
      else this.#carried.add(entry);
      this.#answers.reject(entry, error, mayArrive);
      this.#rearm(entry);
    }
  }

  /** No more copies; what is out decides. */
  #drain(entry: Entry): void {
    if (entry.state !== WIRE) entry.actAt = this.#runtime.clock.now() + this.#policy.confirmTimeout;
    entry.state = next(entry.state, "withdrawn");
    entry.queue?.remove(entry);
    this.#arm(entry);
  }

  /** Its last verdicts may never come, and no session's end will bring them. */
  #abandon(entry: Entry): void {
    entry.doubted = true;
    entry.state = next(entry.state, "withdrawnLast");
    this.#reject(entry);
  }

  #refuseRelayed(entry: Entry, error: TallyError): void {
    entry.state = next(entry.state, entry.open > 0 ? "withdrawn" : "withdrawnLast");
    entry.relayed?.({ is: "refused", error });
    if (entry.state === ENDED) this.#end(entry);
  }

  #reject(entry: Entry): void {
    entry.relayed?.({ is: "refused", error: entry.lastError ?? new TallyError("in-doubt", "no verdict came") });
    this.#answers.reject(entry, entry.lastError ?? new TallyError("in-doubt", "no verdict came"), entry.doubted);
    this.#end(entry);
  }

  #end(entry: Entry): void {
    const { line, message } = entry;
    this.#wheel.disarm(entry);
    this.#answers.end(entry);
    if (line.byId.get(message.id) === entry) line.byId.delete(message.id);
    const heir = message.ordered ? line.stepOut(entry) : null;
    this.#live--;
    this.#carried.delete(entry);
    if (entry.relayed !== null) this.#spilling?.forget(entry);
    this.#breakers.gone(entry);
    if (entry.batch !== null) {
      this.#wire.forget(entry);
      // Its last copy still keeps others from the lane, and only this message's time can tell that it is silent.
      if (this.#runtime.transport.traits.inFlightPerLane === 1) this.#arm(entry);
    }
    if (entry.inWindow) {
      entry.queue?.remove(entry);
      this.#window.leave(entry.bytes);
    } else this.#window.giveUp(entry);
    if (heir !== null) this.#advance(heir);
    if (this.#live === 0) this.#idle?.();
  }

  #late(entry: Entry, verdict: string): void {
    this.#runtime.events.emit({ type: "late-verdict", topic: entry.message.topic, id: entry.message.id, verdict });
  }

  /** Rows of the outbox are not parked any more, or gone, by a person's word. */
  rowsChanged(): void {
    this.#spilling?.rowsChanged();
  }

  /** No new messages; resolves when the last one is at its end, or at the limit, when the rest is abandoned. Gives how many that were. */
  async close(within: number): Promise<number> {
    const { clock } = this.#runtime;
    const until = clock.now() + within;
    this.#stage = "closing";
    this.#spilling?.finish();
    if (this.#live > 0) await atMost(clock, within, new Promise<void>((resolve) => (this.#idle = resolve)));
    // A store that does not answer keeps nobody: what it was given may be stored, and its callers are told so.
    await atMost(clock, Math.max(until - clock.now(), LEAVE_WITHIN), this.#spilling?.close() ?? Promise.resolve());
    this.#stage = "closed";
    this.#topics.stop();
    this.#breakers.stop();
    const abandoned = this.#live;
    for (const entry of this.#wheel.items()) {
      const { id } = entry.message;
      this.#release(
        entry,
        new TallyError("closed", `${id} had no verdict when the tally was closed`, { id, retryable: true }),
      );
    }
    this.#wheel.stop();
    await atMost(clock, Math.max(until - clock.now(), LEAVE_WITHIN), this.#senders.close());
    return abandoned;
  }
}
