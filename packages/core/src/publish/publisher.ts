// One thing: the life of a message from `publish()` to its end; the parts it is made of are in the files beside it.
import { fullJitter, type Backoff } from "../backoff.ts";
import { sleep } from "../clock.ts";
import { milliseconds } from "../duration.ts";
import { describe, type ErrorCode, TallyError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import { describeIssues, type SchemaResult } from "../schema.ts";
import type { TopicPlan, Verdict } from "../spi.ts";
import type { Topic } from "../topic.ts";
import { Entry } from "./entry.ts";
import { Wire } from "./lanes.ts";
import { type PublishOptions, type PublishPolicy, type Receipt, resendBackoff } from "./options.ts";
import { type Batch, Senders } from "./senders.ts";
import { type Draft, snapshot } from "./snapshot.ts";
import { TopicLine } from "./topics.ts";
import { BACKOFF, DRAINING, ENDED, HELD, next, OVERDUE, WIRE } from "./transitions.ts";
import { TimingWheel } from "./wheel.ts";
import { Window } from "./window.ts";

/** Milliseconds: the precision of time-outs and back-offs. */
const TICK = 10;

/** Publishes messages and sees each to its end: accepted, rejected, withdrawn, or carried on in the background. */
export class Publisher {
  readonly #runtime: Runtime;
  readonly #policy: PublishPolicy;
  readonly #backoff: Backoff;
  readonly #window: Window;
  readonly #wheel: TimingWheel<Entry>;
  readonly #senders: Senders;
  readonly #wire: Wire;
  readonly #topics: Map<string, TopicLine> = new Map();
  readonly #closing: AbortController = new AbortController();
  #live = 0;
  #idle: (() => void) | null = null;

  constructor(runtime: Runtime, policy: PublishPolicy, topics: readonly TopicPlan[]) {
    this.#runtime = runtime;
    this.#policy = policy;
    this.#backoff = resendBackoff(policy);
    this.#window = new Window(policy.window, policy.windowBytes);
    this.#wheel = new TimingWheel(runtime.clock, TICK, (entry) => this.#due(entry));
    for (const plan of topics) this.#line(plan);
    this.#senders = new Senders({
      runtime,
      drainWithin: policy.confirmTimeout,
      declare: (signal) => this.#declareAll(signal),
      opened: () => this.#opened(),
      dropped: () => this.#dropped(),
      unblocked: () => this.#wire.resume(false),
      verdict: (batch, index, verdict) => this.#verdict(batch, index, verdict),
    });
    this.#wire = new Wire({
      senders: this.#senders,
      inFlightPerLane: runtime.transport.traits.inFlightPerLane,
      sent: (entry) => this.#sent(entry),
      undeclared: (entry) => this.#enqueue(entry),
    });
  }

  /** Messages not yet at their end. */
  get live(): number {
    return this.#live;
  }

  /** How the first try to open a session ended. */
  get first(): Promise<void> {
    return this.#senders.first;
  }

  // ── a call comes in ─────────────────────────────────────────────────────────

  /** @param producer Whose message it is; that of a dead letter stays its own. */
  publish<In>(
    topic: Topic<In, unknown>,
    body: In,
    options?: PublishOptions,
    producer: string | null = null,
  ): Promise<Receipt> {
    let message: Draft;
    let verdict: SchemaResult<unknown> | Promise<SchemaResult<unknown>> | null;
    try {
      if (this.#closing.signal.aborted) throw new TallyError("closed", "publish() after close()", { id: options?.id });
      options?.signal?.throwIfAborted();
      message = snapshot(this.#runtime, topic, body, options);
      if (producer !== null) message.producer = producer;
      verdict = topic.schema === null ? null : topic.schema["~standard"].validate(body);
      if (verdict !== null && !(verdict instanceof Promise)) assertValid(message, verdict);
    } catch (thrown) {
      return Promise.reject(this.#refuse(topic.name, options, thrown));
    }
    const line = this.#line(topic);
    const known = options?.id === undefined ? undefined : line.byId.get(message.id);
    if (known !== undefined) return this.#join(known, message, options);

    const entry = new Entry(this, line, message, this.#deadlineOf(options));
    message.seq = ++line.seq;
    this.#live++;
    if (options?.id !== undefined) line.byId.set(message.id, entry);
    if (message.ordered) line.lineUp(entry);
    if (options?.signal !== undefined) this.#obey(entry, options.signal);
    if (verdict instanceof Promise) this.#await(entry, verdict);
    else entry.validated = true;
    // Into the window in the order of the calls, also while validation is under way: else one key's later messages could
    // fill the window and wait in it for the first, which would wait for the window.
    this.#window.enter(entry);
    if (entry.prev === null && entry.state !== ENDED) this.#arm(entry);
    return entry.promise;
  }

  /** Called by the window when the message is in. */
  admitted(entry: Entry): void {
    entry.inWindow = true;
    this.#advance(entry);
  }

  /** Sends a held message on its way if nothing holds it any more. */
  #advance(entry: Entry): void {
    if (entry.state !== HELD || !entry.validated || !entry.inWindow) return;
    if (entry.message.ordered && !entry.line.isHead(entry)) return;
    entry.state = next(entry.state, "ready");
    this.#enqueue(entry);
  }

  #enqueue(entry: Entry): void {
    if (entry.line.ready) return this.#wire.add(entry);
    entry.line.waiting.push(entry);
    if (this.#senders.current !== null) void this.#declareLate(entry.line);
  }

  /** The same id published again: the same body joins the call in flight, another one is a conflict. */
  #join(entry: Entry, message: Draft, options: PublishOptions | undefined): Promise<Receipt> {
    const { id } = message;
    if (
      entry.message.producer !== message.producer ||
      entry.message.key !== message.key ||
      !sameBytes(entry.message.body, message.body)
    ) {
      const error = new TallyError("conflict", `${id} is in flight on ${message.topic} with another body or key`, {
        id,
      });
      return Promise.reject(this.#refuse(message.topic, options, error));
    }
    this.#runtime.events.emit({ type: "joined", topic: message.topic, id });
    if (entry.released) {
      // Its copies are still out, so this is the same message, with a caller again.
      entry.adopt(this.#deadlineOf(options));
      entry.state = next(entry.state, "adopted");
      if (options?.signal !== undefined) this.#obey(entry, options.signal);
      this.#arm(entry);
      return entry.promise;
    }
    return options?.signal === undefined ? entry.promise : unlessAborted(entry.promise, options.signal, id);
  }

  #await(entry: Entry, verdict: Promise<SchemaResult<unknown>>): void {
    verdict
      .then((result) => {
        assertValid(entry.message, result);
        entry.validated = true;
        this.#advance(entry);
      })
      .catch((thrown: unknown) => this.#release(entry, asError(thrown, entry.message.id)));
  }

  #obey(entry: Entry, signal: AbortSignal): void {
    entry.signal = signal;
    entry.onAbort = () => this.#release(entry, aborted(signal, entry.message.id));
    signal.addEventListener("abort", entry.onAbort, { once: true });
  }

  #deadlineOf(options: PublishOptions | undefined): number {
    const within =
      options?.deadline === undefined ? this.#policy.deadline : milliseconds("publish: deadline", options.deadline);
    return this.#runtime.clock.now() + within;
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
    if (verdict.kind === "accepted") {
      this.#wire.answer(entry, batch, true);
      const was = entry.state;
      entry.state = next(was, "accepted");
      if (was === ENDED || entry.released) this.#late(entry, verdict.kind);
      if (was !== ENDED) {
        if (!entry.released) entry.accept(verdict.proof);
        this.#end(entry);
      }
      return;
    }
    if (verdict.kind === "doubt") entry.doubted = true;
    // A message that drains has its reason already: the definite no that ended its sending.
    if (entry.state !== DRAINING) entry.lastError = verdict.error;
    if (entry.state === ENDED) this.#late(entry, verdict.kind);
    else this.#notAccepted(entry, batch, verdict);
    this.#wire.answer(entry, batch, verdict.kind !== "doubt" && verdict.kind !== "unsent");
  }

  #notAccepted(entry: Entry, batch: Batch, verdict: Exclude<Verdict, { kind: "accepted" }>): void {
    const last = entry.open === 0;
    const current = entry.batch === batch && (entry.state === WIRE || entry.state === OVERDUE);
    if (!current) {
      entry.state = next(entry.state, last ? "oldFailedLast" : "oldFailed");
      if (entry.state === ENDED) this.#reject(entry);
    } else if (verdict.kind === "refused" || verdict.kind === "unroutable") {
      entry.state = next(entry.state, last ? "refusedLast" : "refused");
      if (entry.state === ENDED) this.#reject(entry);
      else this.#arm(entry);
    } else if (entry.released && !entry.message.ordered) {
      entry.state = next(entry.state, last ? "withdrawnLast" : "withdrawn");
      if (entry.state === ENDED) this.#end(entry);
    } else {
      entry.state = next(entry.state, "failed");
      if (entry.state !== BACKOFF) return; // overdue: another copy is due already
      entry.failures++;
      const wait = this.#waitFor(entry, verdict);
      if (wait === 0) return this.#again(entry);
      entry.actAt = this.#runtime.clock.now() + wait;
      this.#arm(entry);
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
    this.#enqueue(entry);
  }

  // ── time ────────────────────────────────────────────────────────────────────

  #arm(entry: Entry): void {
    const act = entry.state === WIRE || entry.state === BACKOFF ? entry.actAt : Number.POSITIVE_INFINITY;
    const due = entry.released ? act : Math.min(act, entry.deadlineAt);
    if (due === Number.POSITIVE_INFINITY) this.#wheel.disarm(entry);
    else this.#wheel.arm(entry, due);
  }

  #due(entry: Entry): void {
    const now = this.#runtime.clock.now();
    if (!entry.released && now >= entry.deadlineAt) {
      const { id } = entry.message;
      this.#release(
        entry,
        new TallyError("deadline", `no verdict for ${id} in time; ${entry.copies} copies sent`, {
          id,
          retryable: true,
          cause: entry.lastError ?? undefined,
        }),
      );
    }
    if (entry.state === BACKOFF && now >= entry.actAt) return this.#again(entry);
    if (entry.state === WIRE && now >= entry.actAt) this.#overdue(entry);
    if (entry.state !== ENDED) this.#arm(entry);
  }

  #overdue(entry: Entry): void {
    const session = entry.batch?.session;
    if (session?.blocked === true) {
      // The broker has said that it reads nothing: silence means nothing yet, and a successor would be as deaf.
      entry.actAt = this.#runtime.clock.now() + this.#policy.confirmTimeout;
      return;
    }
    const { topic, id } = entry.message;
    this.#runtime.events.emit({ type: "overdue", topic, id, afterMs: this.#policy.confirmTimeout });
    entry.state = next(entry.state, "overdue");
    this.#wire.overdue(entry);
    if (!this.#runtime.transport.traits.resendsInSession && session !== undefined && session === this.#senders.current)
      this.#senders.retire();
  }

  // ── sessions and topology ───────────────────────────────────────────────────

  #line(plan: TopicPlan): TopicLine {
    let line = this.#topics.get(plan.name);
    if (line === undefined)
      this.#topics.set(
        plan.name,
        (line = new TopicLine({ name: plan.name, ordered: plan.ordered, groups: plan.groups })),
      );
    return line;
  }

  async #declareAll(signal: AbortSignal): Promise<void> {
    for (const line of this.#topics.values()) if (!line.ready) await this.#declare(line, signal);
  }

  /** A topic that contradicts what exists rejects its own messages, and holds up no other topic. */
  async #declare(line: TopicLine, signal: AbortSignal): Promise<void> {
    try {
      await this.#runtime.transport.admin.declare([line.plan], signal);
      line.ready = true;
    } catch (thrown) {
      const error = asError(thrown, null);
      if (error.retryable || (error.code !== "topology" && error.code !== "unsupported")) throw error;
      this.#runtime.events.emit({ type: "surfaced", what: line.plan.name, text: error.message });
      for (const entry of line.takeWaiting()) this.#release(entry, error);
    }
  }

  /** For a topic that was first used after the session had opened. */
  async #declareLate(line: TopicLine): Promise<void> {
    if (line.declaring) return;
    line.declaring = true;
    const { clock, random, reconnect } = this.#runtime;
    const { signal } = this.#closing;
    for (
      let attempt = 1;
      !line.ready && line.waiting.length > 0 && this.#senders.current !== null && !signal.aborted;
      attempt++
    ) {
      try {
        await this.#declare(line, signal);
      } catch {
        // The session may be going down, and its successor declares again; else ask again.
        await sleep(clock, Math.max(1, fullJitter(reconnect, attempt, random)), signal).catch(() => {});
      }
    }
    line.declaring = false;
    if (line.ready) for (const entry of line.takeWaiting()) this.#enqueue(entry);
  }

  #opened(): void {
    for (const line of this.#topics.values()) {
      if (line.ready) for (const entry of line.takeWaiting()) this.#enqueue(entry);
      else if (line.waiting.length > 0) void this.#declareLate(line);
    }
    this.#wire.resume(true);
  }

  #dropped(): void {
    // The broker may have come back without them.
    for (const line of this.#topics.values()) line.ready = false;
    this.#wire.lost();
  }

  // ── ends ────────────────────────────────────────────────────────────────────

  /** Answers the caller now. A message that may be dropped is; an ordered one that may have left is carried to its end. */
  #release(entry: Entry, error: TallyError): void {
    if (entry.state === ENDED || entry.released) return;
    const mayArrive = entry.open > 0 || entry.doubted;
    entry.released = true;
    entry.reject(this.#rejected(entry, error, mayArrive));
    this.#unsubscribe(entry);
    if (entry.message.ordered && mayArrive && !this.#closing.signal.aborted) return this.#arm(entry);
    entry.state = next(entry.state, entry.open > 0 ? "withdrawn" : "withdrawnLast");
    if (entry.state === ENDED) this.#end(entry);
    else this.#arm(entry);
  }

  #reject(entry: Entry): void {
    const error = entry.lastError ?? new TallyError("refused", "refused");
    if (!entry.released) entry.reject(this.#rejected(entry, error, entry.doubted));
    this.#end(entry);
  }

  /** The caller's error: the reason, the id, and whether a copy may still take effect. */
  #rejected(entry: Entry, error: TallyError, mayArrive: boolean): TallyError {
    const { topic, id } = entry.message;
    this.#runtime.events.emit({ type: "rejected", topic, id, code: error.code, mayArrive });
    if (error.id === id && error.mayArrive === mayArrive) return error;
    const text = error.message.replace(/^\[[^\]]*\] /, "");
    return new TallyError(error.code, text, { id, mayArrive, retryable: error.retryable, cause: error.cause ?? error });
  }

  #end(entry: Entry): void {
    const { line, message } = entry;
    this.#wheel.disarm(entry);
    if (entry.signal !== null) this.#unsubscribe(entry);
    if (line.byId.get(message.id) === entry) line.byId.delete(message.id);
    const heir = message.ordered ? line.stepOut(entry) : null;
    this.#live--;
    if (entry.inWindow) this.#window.leave(entry.bytes);
    else this.#window.giveUp(entry);
    if (heir !== null) this.#advance(heir);
    if (this.#live === 0) this.#idle?.();
  }

  #unsubscribe(entry: Entry): void {
    if (entry.onAbort !== null) entry.signal?.removeEventListener("abort", entry.onAbort);
    entry.signal = null;
    entry.onAbort = null;
  }

  #late(entry: Entry, verdict: string): void {
    this.#runtime.events.emit({ type: "late-verdict", topic: entry.message.topic, id: entry.message.id, verdict });
  }

  /** Refused before it became a message. */
  #refuse(topic: string, options: PublishOptions | undefined, thrown: unknown): TallyError {
    const id = typeof options?.id === "string" ? options.id : null;
    const { signal } = options ?? {};
    const error = signal?.aborted === true && !TallyError.is(thrown) ? aborted(signal, id) : asError(thrown, id);
    this.#runtime.events.emit({ type: "rejected", topic, id: id ?? "", code: error.code, mayArrive: false });
    return error;
  }

  /** No new messages; resolves when the last one is at its end, or at the limit, when the rest is abandoned. Gives how many that were. */
  async close(within: number): Promise<number> {
    this.#closing.abort();
    if (this.#live > 0) {
      const limit = new AbortController();
      await Promise.race([
        new Promise<void>((resolve) => (this.#idle = resolve)),
        sleep(this.#runtime.clock, within, limit.signal).catch(() => {}),
      ]);
      limit.abort();
    }
    const abandoned = this.#live;
    for (const entry of this.#wheel.items()) {
      this.#release(
        entry,
        new TallyError("closed", `${entry.message.id} had no verdict when the tally was closed`, {
          id: entry.message.id,
          retryable: true,
        }),
      );
    }
    this.#wheel.stop();
    await this.#senders.close();
    return abandoned;
  }
}

function assertValid(message: Draft, result: SchemaResult<unknown>): void {
  if (result.issues === undefined) return;
  throw new TallyError(
    "schema",
    `the body of ${message.id} is not what topic ${message.topic} takes: ${describeIssues(result.issues)}`,
    { id: message.id },
  );
}

function aborted(signal: AbortSignal, id: string | null): TallyError {
  return new TallyError("aborted", "publish() was aborted", { id: id ?? undefined, cause: signal.reason });
}

function asError(thrown: unknown, id: string | null): TallyError {
  if (TallyError.is(thrown)) return thrown;
  return new TallyError("bad-message", describe(thrown), { id: id ?? undefined, cause: thrown });
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
  return a.byteLength === b.byteLength && a.every((byte, i) => byte === b[i]);
}

/** A joined caller may give up by itself: the message goes on for the first one. */
function unlessAborted(promise: Promise<Receipt>, signal: AbortSignal, id: string): Promise<Receipt> {
  return new Promise((resolve, reject) => {
    const onAbort = (): void => {
      reject(new TallyError("aborted", "publish() was aborted", { id, mayArrive: true, cause: signal.reason }));
    };
    signal.addEventListener("abort", onAbort, { once: true });
    promise.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });
}
