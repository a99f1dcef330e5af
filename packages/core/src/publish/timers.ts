import { TallyError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { Caller } from "./callers.ts";
import type { Entry } from "./entry.ts";
import type { Wire } from "./lanes.ts";
import type { Senders } from "./senders.ts";
import { BACKOFF, DRAINING, ENDED, HELD, next, OVERDUE, SPILLING, WAITING, WIRE } from "./transitions.ts";
import { TimingWheel } from "./wheel.ts";

/** Milliseconds: the precision of time-outs and back-offs. */
const TICK = 10;

export interface TimersOptions {
  readonly runtime: Runtime;
  /** Milliseconds until a copy without a verdict is overdue. */
  readonly confirmTimeout: number;
  readonly senders: Senders;
  readonly wire: Wire;
  /** Its deadline is over. */
  missed(caller: Caller, error: TallyError): void;
  /** Its back-off is over. */
  again(entry: Entry): void;
  /** Its last verdicts may never come, and no session's end will bring them. */
  silent(entry: Entry): void;
}

/** What each message waits for that only time brings: its callers' deadlines, a verdict that is overdue, the end of a back-off. */
export class Timers {
  readonly #o: TimersOptions;
  readonly #wheel: TimingWheel<Entry>;

  constructor(options: TimersOptions) {
    this.#o = options;
    this.#wheel = new TimingWheel(options.runtime.clock, TICK, (entry) => this.#due(entry));
  }

  /** What is armed. Not among them: what nobody waits for, and only waits. */
  get items(): readonly Entry[] {
    return this.#wheel.items();
  }

  /** For what comes first, in its state and with its callers. */
  arm(entry: Entry): void {
    const { state, caller } = entry;
    const waits = state === HELD || state === WAITING || state === OVERDUE || state === SPILLING;
    const act = waits ? Number.POSITIVE_INFINITY : entry.actAt;
    const due = caller === null ? act : Math.min(act, caller.deadlineAt);
    if (due === Number.POSITIVE_INFINITY) this.#wheel.disarm(entry);
    else this.#wheel.arm(entry, due);
  }

  /** After users' code has run: that may have ended it. */
  rearm(entry: Entry): void {
    if (entry.state !== ENDED) this.arm(entry);
  }

  disarm(entry: Entry): void {
    this.#wheel.disarm(entry);
  }

  /** Its callers' deadline, once it is under way: it may have been armed there already, or have ended. */
  begin(entry: Entry): void {
    if (entry.prev === null) this.rearm(entry);
  }

  /** A copy of it is out: from now on its verdict is waited for. */
  expect(entry: Entry): void {
    entry.actAt = this.#o.runtime.clock.now() + this.#o.confirmTimeout;
    this.arm(entry);
  }

  /** Another copy goes out after `wait` milliseconds. */
  backOff(entry: Entry, wait: number): void {
    if (wait === 0) return this.#again(entry);
    entry.actAt = this.#o.runtime.clock.now() + wait;
    this.arm(entry);
  }

  /** Nothing is ever due any more. */
  stop(): void {
    this.#wheel.stop();
  }

  #again(entry: Entry): void {
    entry.state = next(entry.state, "due");
    this.arm(entry);
    this.#o.again(entry);
  }

  #due(entry: Entry): void {
    const now = this.#o.runtime.clock.now();
    const { id } = entry.message;
    while (entry.caller !== null && now >= entry.caller.deadlineAt) {
      this.#o.missed(
        entry.caller,
        new TallyError("deadline", `no verdict for ${id} in time; ${entry.copies} copies sent`, {
          id,
          retryable: true,
          cause: entry.lastError ?? undefined,
        }),
      );
    }
    if (entry.state === ENDED && entry.batch?.session !== this.#o.senders.current) return;
    if (entry.state === BACKOFF && now >= entry.actAt) return this.#again(entry);
    if ((entry.state === WIRE || entry.state === DRAINING || entry.state === ENDED) && now >= entry.actAt)
      return this.#overdue(entry, now);
    this.arm(entry);
  }

  #overdue(entry: Entry, now: number): void {
    const { confirmTimeout, runtime, senders, wire } = this.#o;
    const { resendsInSession } = runtime.transport.traits;
    const session = entry.batch?.session ?? null;
    // While the broker has said that it reads nothing, silence means nothing, and a successor would be as deaf.
    const since = session === null ? 0 : session.blocked ? now : session.readingSince;
    // A retired session ends its copies when its time is up.
    const ending = session === null && !resendsInSession;
    if (ending || since + confirmTimeout > now) {
      entry.actAt = (ending ? now : since) + confirmTimeout;
      return this.arm(entry);
    }
    const { topic, id } = entry.message;
    runtime.events.emit({ type: "overdue", topic, id, afterMs: confirmTimeout });
    wire.overdue(entry);
    if (entry.state === DRAINING) {
      if (resendsInSession) return this.#o.silent(entry);
      entry.actAt = now + confirmTimeout;
    } else if (entry.state !== ENDED) {
      entry.state = next(entry.state, "overdue");
      wire.add(entry);
    }
    this.rearm(entry);
    if (!resendsInSession && session !== null && session === senders.current) senders.retire();
  }
}
