import { fullJitter, type Backoff } from "../backoff.ts";
import type { ErrorCode } from "../error.ts";
import { failpoint } from "../failpoints.ts";
import type { Verdict } from "../port/sending.ts";
import type { Runtime } from "../runtime.ts";
import type { Breakers } from "./breakers.ts";
import type { Ends } from "./ends.ts";
import type { Entry } from "./entry.ts";
import type { Wire } from "./lanes.ts";
import type { Batch } from "./senders.ts";
import type { Timers } from "./timers.ts";
import { BACKOFF, DRAINING, ENDED, next, OVERDUE, WIRE } from "./transitions.ts";

export interface VerdictsOptions {
  readonly runtime: Runtime;
  /** Between two copies of a message. */
  readonly backoff: Backoff;
  readonly breakers: Breakers;
  readonly ends: Ends;
  readonly timers: Timers;
  readonly wire: Wire;
}

/** The copies of a message: what the verdict of each makes of it. Its end, another copy, or that copies still out decide. */
export class Verdicts {
  readonly #runtime: Runtime;
  readonly #backoff: Backoff;
  readonly #breakers: Breakers;
  readonly #ends: Ends;
  readonly #timers: Timers;
  readonly #wire: Wire;

  constructor(options: VerdictsOptions) {
    this.#runtime = options.runtime;
    this.#backoff = options.backoff;
    this.#breakers = options.breakers;
    this.#ends = options.ends;
    this.#timers = options.timers;
    this.#wire = options.wire;
  }

  /** A copy is on its way. */
  sent(entry: Entry): void {
    entry.copies++;
    entry.open++;
    this.#timers.expect(entry);
    if (entry.copies === 1) return;
    const because: ErrorCode = entry.lastError?.code ?? "in-doubt";
    const { topic, id } = entry.message;
    this.#runtime.events.emit({ type: "resend", topic, id, copy: entry.copies, because });
  }

  /** The verdict of a copy; the one of `batch` at `index`. */
  verdict(batch: Batch, index: number, verdict: Verdict): void {
    const entry = batch.entries[index];
    if (entry === undefined) return;
    entry.open--;
    const newest = entry.batch === batch;
    if (newest) entry.batch = null;
    if (entry.state === ENDED) this.#timers.disarm(entry);
    if (verdict.kind === "accepted") {
      this.#wire.answer(batch, true);
      this.#breakers.answered(entry.line);
      const was = entry.state;
      entry.state = next(was, "accepted");
      // A row has no caller, and is as punctual as any.
      if (was === ENDED || (entry.caller === null && entry.relayed === null)) this.#late(entry, verdict.kind);
      if (was !== ENDED) {
        if (entry.relayed === null) failpoint("publisher.accepted");
        this.#ends.accept(entry, verdict.proof, "confirmed");
      }
      return;
    }
    // "Later" can leave a doubt as well: of several queues behind one copy, some may have taken it.
    if (verdict.kind === "doubt" || verdict.error.mayArrive) entry.doubted = true;
    // A message that drains has its reason already: the definite no that ended its sending.
    if (entry.state !== DRAINING) entry.lastError = verdict.error;
    if (entry.state === ENDED) this.#late(entry, verdict.kind);
    else this.#notAccepted(entry, newest, verdict);
    this.#wire.answer(batch, verdict.kind !== "doubt" && verdict.kind !== "unsent");
  }

  /** @param newest It was the last copy sent. */
  #notAccepted(entry: Entry, newest: boolean, verdict: Exclude<Verdict, { kind: "accepted" }>): void {
    const last = entry.open === 0;
    const decides = newest && (entry.state === WIRE || entry.state === OVERDUE);
    if (!decides) {
      entry.state = next(entry.state, last ? "oldFailedLast" : "oldFailed");
      if (entry.state === ENDED) this.#ends.reject(entry);
    } else if (verdict.kind === "refused" || verdict.kind === "unroutable") {
      this.#breakers.answered(entry.line);
      entry.state = next(entry.state, last ? "refusedLast" : "refused");
      if (entry.state === ENDED) this.#ends.reject(entry);
      else this.#ends.drain(entry);
    } else {
      entry.state = next(entry.state, "failed");
      if (entry.state !== BACKOFF) return; // overdue: another copy is due already
      entry.failures++;
      const wait = this.#waitFor(entry, verdict);
      this.#timers.backOff(entry, wait);
      if (wait === 0) return;
      // A window that was nacked at one moment is one failure many times over: it counts when it is nacked again.
      if (verdict.kind === "later" && entry.failures > 1) this.#breakers.failed(entry);
      if (entry.state === BACKOFF) this.#breakers.backedOff(entry);
    }
  }

  /** Siblings of a lost session are resent at once; whoever fails again and again backs off. */
  #waitFor(entry: Entry, verdict: Exclude<Verdict, { kind: "accepted" }>): number {
    if (verdict.kind === "later")
      return Math.max(verdict.afterMs, fullJitter(this.#backoff, entry.failures, this.#runtime.random), 1);
    return entry.failures === 1 ? 0 : Math.max(1, fullJitter(this.#backoff, entry.failures - 1, this.#runtime.random));
  }

  #late(entry: Entry, verdict: string): void {
    this.#runtime.events.emit({ type: "late-verdict", topic: entry.message.topic, id: entry.message.id, verdict });
  }
}
