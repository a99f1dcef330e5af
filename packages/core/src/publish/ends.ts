import { TallyError } from "../error.ts";
import type { Proof } from "../port/sending.ts";
import type { Runtime } from "../runtime.ts";
import type { Answers } from "./answers.ts";
import type { Breakers } from "./breakers.ts";
import type { Caller } from "./callers.ts";
import type { Entry } from "./entry.ts";
import type { Wire } from "./lanes.ts";
import type { Receipt } from "./options.ts";
import type { Relayed } from "./relayed.ts";
import type { Timers } from "./timers.ts";
import { DRAINING, ENDED, next, SPILLING, WIRE } from "./transitions.ts";
import type { Turns } from "./turns.ts";

export interface EndsOptions {
  readonly runtime: Runtime;
  readonly answers: Answers;
  readonly breakers: Breakers;
  readonly relayed: Relayed;
  readonly timers: Timers;
  readonly turns: Turns;
  readonly wire: Wire;
}

/** The messages that have not ended, and how each does: accepted, rejected, withdrawn, or carried on in the background until then. */
export class Ends {
  readonly #runtime: Runtime;
  readonly #answers: Answers;
  readonly #breakers: Breakers;
  readonly #relayed: Relayed;
  readonly #timers: Timers;
  readonly #turns: Turns;
  readonly #wire: Wire;
  /** Without a caller, and sent on in the background: no timer finds those that only wait. */
  readonly #carried: Set<Entry> = new Set();
  #live = 0;
  #idle: (() => void) | null = null;
  #closed = false;

  constructor(options: EndsOptions) {
    this.#runtime = options.runtime;
    this.#answers = options.answers;
    this.#breakers = options.breakers;
    this.#relayed = options.relayed;
    this.#timers = options.timers;
    this.#turns = options.turns;
    this.#wire = options.wire;
  }

  /** Messages not yet at their end. */
  get live(): number {
    return this.#live;
  }

  /** Nothing is carried on any more. */
  get closed(): boolean {
    return this.#closed;
  }

  /** Every message between its call and its end, rows on their way too, except those that only wait for the window. */
  waiting(): readonly Entry[] {
    return [...this.#timers.items, ...this.#carried, ...this.#relayed.entries];
  }

  /** One more that has to come to its end, behind the earlier ones of its key. */
  begin(entry: Entry): void {
    this.#live++;
    if (entry.message.ordered) entry.line.lineUp(entry);
  }

  /** As `begin`, for one that nobody waits for. */
  carry(entry: Entry): void {
    this.begin(entry);
    this.#carried.add(entry);
  }

  /** Its copies are still out, so this is the same message, with a caller again. */
  adopt(entry: Entry, caller: Caller): void {
    entry.caller = caller;
    // No more copies were to come; if the last one has had its answer, another one must.
    const again = entry.state === DRAINING && entry.batch === null;
    entry.state = next(entry.state, again ? "adoptedAgain" : "adopted");
    this.#carried.delete(entry);
    this.#timers.arm(entry);
    if (again) this.#turns.route(entry);
  }

  // ── it is not wanted any more ───────────────────────────────────────────────

  /** Answers one caller now; with the last one the message is released. */
  giveUp(caller: Caller, error: TallyError): void {
    const { entry } = caller;
    if (!this.#answers.leave(caller)) return this.release(entry, error);
    this.#timers.arm(entry);
    // The message goes on for the others.
    this.#answers.rejectOne(caller, error, true);
  }

  /**
   * Answers all callers now. What may be dropped is; an ordered message that may have left is carried to its end.
   * @param forGood No copy can go out any more: nothing is carried.
   */
  release(entry: Entry, error: TallyError, forGood: boolean = this.#closed): void {
    if (entry.state === ENDED) return;
    if (entry.relayed !== null) return this.#refuseRelayed(entry, error);
    if (entry.state === SPILLING) {
      // Its row is being written, and what is written is sent.
      this.#answers.reject(entry, error, true);
      return this.#timers.rearm(entry);
    }
    const mayArrive = entry.open > 0 || entry.doubted;
    const dropped = forGood || !mayArrive || !entry.message.ordered;
    // The new state before the answers: their events reach users' code, which may publish the same id in that very call.
    if (dropped && entry.open === 0) {
      entry.state = next(entry.state, "withdrawnLast");
      this.#answers.reject(entry, error, mayArrive);
      this.end(entry);
    } else {
      if (dropped) this.drain(entry);
      else this.#carried.add(entry);
      this.#answers.reject(entry, error, mayArrive);
      this.#timers.rearm(entry);
    }
  }

  /** No more copies; what is out decides. */
  drain(entry: Entry): void {
    const timed = entry.state === WIRE;
    entry.state = next(entry.state, "withdrawn");
    entry.queue?.remove(entry);
    if (timed) this.#timers.arm(entry);
    else this.#timers.expect(entry);
  }

  /** Its last verdicts may never come, and no session's end will bring them. */
  abandon(entry: Entry): void {
    entry.doubted = true;
    entry.state = next(entry.state, "withdrawnLast");
    this.reject(entry);
  }

  #refuseRelayed(entry: Entry, error: TallyError): void {
    entry.state = next(entry.state, entry.open > 0 ? "withdrawn" : "withdrawnLast");
    entry.relayed?.({ is: "refused", error });
    if (entry.state === ENDED) this.end(entry);
  }

  // ── its state is ENDED ──────────────────────────────────────────────────────

  /** It is with the broker, or in the outbox. */
  accept(entry: Entry, proof: Proof, state: Receipt["state"]): void {
    this.#answers.accept(entry, proof, state);
    entry.relayed?.({ is: "accepted", proof });
    this.end(entry);
  }

  /** No copy of it was taken, as far as anyone knows: with what the last verdict said. */
  reject(entry: Entry): void {
    const error = entry.lastError ?? new TallyError("in-doubt", "no verdict came");
    entry.relayed?.({ is: "refused", error });
    this.#answers.reject(entry, error, entry.doubted);
    this.end(entry);
  }

  /** Everybody has been told. Nothing holds it any more, and it holds nobody. */
  end(entry: Entry): void {
    const { line, message } = entry;
    this.#timers.disarm(entry);
    this.#answers.end(entry);
    if (line.byId.get(message.id) === entry) line.byId.delete(message.id);
    const heir = message.ordered ? line.stepOut(entry) : null;
    this.#live--;
    this.#carried.delete(entry);
    if (entry.relayed !== null) this.#relayed.forget(entry);
    this.#breakers.gone(entry);
    if (entry.batch !== null) {
      this.#wire.forget(entry);
      // Its last copy still keeps others from the lane, and only this message's time can tell that it is silent.
      if (this.#runtime.transport.traits.inFlightPerLane === 1) this.#timers.arm(entry);
    }
    this.#turns.leave(entry);
    if (heir !== null) this.#turns.advance(heir);
    if (this.#live === 0) this.#idle?.();
  }

  // ── all of them ─────────────────────────────────────────────────────────────

  /** Resolves when the last one is at its end; there is one. */
  idle(): Promise<void> {
    return new Promise((resolve) => (this.#idle = resolve));
  }

  /** Abandons what has not ended, and carries nothing on any more. Gives how many that were. */
  close(): number {
    this.#closed = true;
    const abandoned = this.#live;
    for (const entry of this.#timers.items) {
      const { id } = entry.message;
      this.release(
        entry,
        new TallyError("closed", `${id} had no verdict when the tally was closed`, { id, retryable: true }),
      );
    }
    this.#timers.stop();
    return abandoned;
  }
}
