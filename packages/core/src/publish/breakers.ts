import type { Timer } from "../clock.ts";
import type { Runtime } from "../runtime.ts";
import {
  type BreakerEffect,
  type BreakerInput,
  type BreakerPolicy,
  type BreakerState,
  CLOSED,
  step,
} from "./breaker.ts";
import type { Entry } from "./entry.ts";
import { Queue } from "./queue.ts";
import type { TopicLine } from "./topic-line.ts";
import { BACKOFF, ENDED, HELD, WAITING } from "./transitions.ts";

/** One topic's breaker, and what it keeps out of the window. */
export class TopicBreaker {
  state: BreakerState = CLOSED;
  probe: Entry | null = null;
  timer: Timer | null = null;
  /** Monotonic: since when it is not closed. */
  since = 0;
  /**
   * Out of the window: messages whose turn it would be, in turn. They go before those in `behind`, among which the next
   * ones of their keys are: let in first, these could fill the window and wait in it for ever.
   */
  readonly heads: Queue<Entry> = new Queue();
  /** Out of the window, in the order of their calls. */
  readonly behind: Queue<Entry> = new Queue();
}

export interface BreakersOptions {
  readonly runtime: Runtime;
  readonly policy: BreakerPolicy;
  /** Every message between its call and its end, except those that only wait for the window. */
  waiting(): Iterable<Entry>;
  /** Whether the outbox takes it instead. */
  spills(entry: Entry): boolean;
  spill(entry: Entry): void;
  /** Into the window again, in its turn. */
  enter(entry: Entry): void;
  /** Its place in the window is free. */
  left(entry: Entry): void;
  /** A row on its way goes back into the outbox. */
  withdraw(entry: Entry): void;
  /** Rows of these topics on their way, at most. */
  limited(topics: ReadonlyMap<string, number>): void;
}

/** The breakers of all topics: which messages are kept from the wire, where they wait, and when they go on. */
export class Breakers {
  readonly #o: BreakersOptions;
  /** Those that are not closed. */
  readonly #open: Set<TopicLine> = new Set();
  #stopped = false;

  constructor(options: BreakersOptions) {
    this.#o = options;
  }

  /** Topics whose breaker is not closed, and since when, on the monotonic clock. */
  get open(): readonly { readonly topic: string; readonly since: number }[] {
    return [...this.#open].map((line) => ({ topic: line.plan.name, since: line.breaker.since }));
  }

  /** A copy came to nothing because of its topic. */
  failed(entry: Entry): void {
    const { breaker } = entry.line;
    const probe = breaker.probe === entry;
    if (probe) breaker.probe = null;
    this.#input(entry.line, { type: "failed", weight: 1, probe, now: this.#o.runtime.clock.now() });
  }

  /** A declaration came to nothing. @param late It has not even answered. */
  undeclared(line: TopicLine, late: boolean): void {
    const { after } = this.#o.policy;
    const { probe } = line.breaker;
    // A probe that is elsewhere did not wait for the declaration.
    const waits = probe !== null && probe.queue === (line.waiting as Queue<never>);
    if (waits) line.breaker.probe = null;
    const weight = late ? Number.POSITIVE_INFINITY : Math.ceil(after / 5);
    this.#input(line, { type: "failed", weight, probe: waits, now: this.#o.runtime.clock.now() });
    if (waits) this.#putOut(probe);
  }

  /** A message waits for its back-off. */
  backedOff(entry: Entry): void {
    if (this.refuses(entry)) this.#putOut(entry);
  }

  answered(line: TopicLine): void {
    if (line.breaker.state !== CLOSED) this.#input(line, { type: "answered" });
  }

  /** A message has come to its end, or went into the outbox. */
  gone(entry: Entry): void {
    const { breaker } = entry.line;
    if (breaker.probe !== entry) return;
    breaker.probe = null;
    this.#input(entry.line, { type: "gone" });
  }

  /** Whether this message must not go to the broker by itself. */
  refuses(entry: Entry): boolean {
    const { state, probe } = entry.line.breaker;
    return state.is !== "closed" && probe !== entry;
  }

  /** As before, but for one that comes when a probe is wanted. */
  bars(entry: Entry): boolean {
    return this.refuses(entry) && !isWanting(entry.line.breaker.state);
  }

  /** Asked before a message is let into the window: true keeps it outside. */
  keepsOut(entry: Entry): boolean {
    if (!this.refuses(entry) || entry.relayed !== null || this.#o.spills(entry)) return false;
    const { heads, behind } = entry.line.breaker;
    if (entry.state === HELD) behind.push(entry);
    else heads.push(entry);
    this.invite(entry.line);
    return true;
  }

  /** Asked before a message goes on the wire: true keeps it away from there, and out of the window. */
  holds(entry: Entry): boolean {
    // A row with a copy on a retired session cannot be given back, and nothing would bring it here again.
    if (!this.refuses(entry) || (entry.relayed !== null && entry.open > 0)) return false;
    if (isWanting(entry.line.breaker.state)) {
      this.#probe(entry.line, entry);
      return false;
    }
    this.#putOut(entry);
    return true;
  }

  /** One of those outside may have become fit to be the probe. */
  invite(line: TopicLine): void {
    const { state, heads, behind } = line.breaker;
    if (!isWanting(state)) return;
    const fit = first(heads, (entry) => entry.state === WAITING) ?? first(behind, (entry) => isFree(entry));
    if (fit === null) return;
    fit.queue?.remove(fit);
    this.#probe(line, fit);
    this.#o.enter(fit);
  }

  /** Lets go of the timers. */
  stop(): void {
    this.#stopped = true;
    for (const line of this.#open) line.breaker.timer?.cancel();
  }

  #probe(line: TopicLine, entry: Entry): void {
    line.breaker.probe = entry;
    this.#input(line, { type: "probe" });
  }

  #input(line: TopicLine, input: BreakerInput): void {
    if (this.#stopped) return;
    const { breaker } = line;
    const { policy, runtime } = this.#o;
    const [state, effects] = step(breaker.state, input, policy, runtime.random);
    const was = breaker.state;
    breaker.state = state;
    for (const effect of effects) if (breaker.state === state) this.#run(line, effect);
    if (was.is !== state.is) this.#limit();
  }

  #run(line: TopicLine, effect: BreakerEffect): void {
    const { breaker } = line;
    const { clock, events } = this.#o.runtime;
    const topic = line.plan.name;
    switch (effect.do) {
      case "open":
        breaker.since = clock.now();
        this.#open.add(line);
        events.emit({ type: "breaker-open", topic });
        return this.#clear(line);
      case "wait":
        breaker.timer?.cancel();
        breaker.timer = clock.after(Math.max(1, Math.ceil(effect.ms)), () => this.#input(line, { type: "due" }));
        return;
      case "invite":
        return this.invite(line);
      case "close": {
        breaker.timer?.cancel();
        breaker.timer = null;
        breaker.probe = null;
        this.#open.delete(line);
        events.emit({ type: "breaker-closed", topic, afterMs: clock.now() - breaker.since });
        for (const queue of [breaker.heads, breaker.behind])
          for (let left = queue.size, entry = queue.shift(); entry !== null; entry = --left > 0 ? queue.shift() : null)
            this.#o.enter(entry);
      }
    }
  }

  /** Takes out of the window whatever does not have to be there. What is on the wire does, until it has its verdict. */
  #clear(line: TopicLine): void {
    const all = [...this.#o.waiting()].filter((entry) => entry.line === line && entry !== line.breaker.probe);
    // Rows from behind: a head that goes first would hand its turn to the next of its key, and that to the next.
    for (const entry of all.toReversed())
      if (entry.relayed !== null && entry.open === 0 && entry.state !== ENDED) this.#o.withdraw(entry);
    const behind: Entry[] = [];
    for (const entry of all) {
      if (entry.state === WAITING || entry.state === BACKOFF) this.#putOut(entry);
      else if (entry.state === HELD && entry.inWindow && entry.relayed === null && !this.#o.spills(entry))
        behind.push(entry);
    }
    // Nobody knows their order here, and each stands in its key by its call.
    for (const entry of behind.sort((a, b) => a.message.seq - b.message.seq)) {
      if (entry.state !== HELD || !entry.inWindow) continue;
      line.breaker.behind.push(entry);
      this.#o.left(entry);
    }
  }

  #putOut(entry: Entry): void {
    if (entry.relayed !== null) {
      if (entry.open === 0) this.#o.withdraw(entry);
      return;
    }
    if (this.#o.spills(entry)) return this.#o.spill(entry);
    if (!entry.inWindow) return;
    entry.queue?.remove(entry);
    entry.line.breaker.heads.push(entry);
    this.#o.left(entry);
  }

  #limit(): void {
    const limits = new Map<string, number>();
    for (const { plan, breaker } of this.#open) {
      const most = breaker.state.is === "open" ? 0 : 1;
      // A topic has another line for what is delayed.
      limits.set(plan.name, Math.min(most, limits.get(plan.name) ?? most));
    }
    this.#o.limited(limits);
  }
}

/** Half-open, and nobody is on the way. */
function isWanting(state: BreakerState): boolean {
  return state.is === "half-open" && !state.probing;
}

function isFree(entry: Entry): boolean {
  return entry.validated && (!entry.message.ordered || entry.line.isHead(entry));
}

function first(queue: Queue<Entry>, is: (entry: Entry) => boolean): Entry | null {
  for (let entry = queue.first; entry !== null; entry = entry.behind as Entry | null) if (is(entry)) return entry;
  return null;
}
