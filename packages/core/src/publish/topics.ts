import { fullJitter } from "../backoff.ts";
import { atMost, sleep } from "../clock.ts";
import { TallyError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import type { TopicPlan } from "../port/topic-plan.ts";
import type { Entry } from "./entry.ts";
import { TimeLimit } from "./time-limit.ts";
import { type Named, TopicLine } from "./topic-line.ts";

export interface TopicsOptions {
  readonly runtime: Runtime;
  /** Whether there is a session. */
  isOpen(): boolean;
  /** Its topic is declared. */
  ready(entry: Entry): void;
  /** Its topic cannot be declared. */
  refused(entry: Entry, error: TallyError): void;
  /** A declaration that messages wait for failed for now, or has not answered for a while (`late`). */
  undeclared(line: TopicLine, late: boolean): void;
}

/** A session that opens waits so long for its topics. What takes longer is declared beside it, and holds up its own topic. */
const PATIENCE_MS = 2_500;
/** Declarations under way at the same time, at most, while a session opens. */
const AT_ONCE = 8;

/** The topics published to so far, and their declaration: on each new session, and at their first use. What waits for it waits in their lines. */
export class Topics {
  readonly #o: TopicsOptions;
  readonly #lines: Map<string, TopicLine> = new Map();
  readonly #delayed: Map<string, TopicLine> = new Map();
  readonly #stopped: AbortController = new AbortController();
  /** Of `openTally({ topics })`; null once a session has opened. */
  #listed: Set<string> | null;
  #refusal: TallyError | null = null;
  /** Bumped when nothing is declared any more: a declaration of before says nothing about the session in use. */
  #generation = 0;

  constructor(options: TopicsOptions, plans: readonly TopicPlan[]) {
    this.#o = options;
    for (const plan of plans) this.line(plan);
    this.#listed = new Set(this.#lines.keys());
  }

  /** Why a topic that was listed could not be declared with the first session, and will not be at another try. */
  get refusal(): TallyError | null {
    return this.#refusal;
  }

  get lines(): readonly Pick<TopicLine, "plan" | "outboxMs">[] {
    return [...this.#lines.values()];
  }

  /** @throws TallyError `bad-config` when the topic is known with another order. */
  line(plan: Named): TopicLine {
    return lineOf(this.#lines, plan);
  }

  /**
   * For copies that are delayed: a line of their own, so that what cannot be declared for them rejects none of the others.
   * What is declared is rounded up to a power of two, so that it grows a few times only.
   * @throws TallyError `bad-config` as `line`
   */
  delayed(plan: TopicPlan, ms: number): TopicLine {
    const line = lineOf(this.#delayed, plan);
    if (ms > line.delayMs) {
      line.delayMs = Math.min(2 ** Math.ceil(Math.log2(ms)), this.#o.runtime.transport.traits.longestDelay);
      line.ready = false;
    }
    return line;
  }

  /** Keeps a message until its topic has been declared. */
  wait(entry: Entry): void {
    entry.line.waiting.push(entry);
    if (this.#o.isOpen()) void this.#declareLate(entry.line);
  }

  /** For a session that is about to open. All of them: the broker may have come back without what an earlier session declared. */
  async declareAll(signal: AbortSignal): Promise<void> {
    this.dropped();
    const left = [...this.#all()];
    let made = left.length === 0;
    let failure: unknown = null;
    const work = async (): Promise<void> => {
      for (let line = left.shift(); line !== undefined && !signal.aborted; line = left.shift()) {
        try {
          await this.#declare(line, signal);
          made = true;
        } catch (thrown) {
          failure ??= thrown;
        }
      }
    };
    await atMost(this.#o.runtime.clock, PATIENCE_MS, Promise.all(Array.from({ length: AT_ONCE }, work)));
    signal.throwIfAborted();
    // One topic is that topic's trouble, and is asked for again when it is used; all of them are the session's.
    if (!made && failure !== null) throw failure;
  }

  /**
   * The session is open, and not in use yet. A no for want of rights may have been to credentials that have been renewed
   * since, and is not the topic's then: it is asked once more.
   */
  async confirm(signal: AbortSignal): Promise<void> {
    for (const line of this.#all()) {
      if (line.refusal?.code !== "unauthorized") continue;
      line.refusal = null;
      // What is no refusal is tried again once the session is in use.
      await this.#declare(line, signal).catch(() => {});
    }
  }

  opened(): void {
    for (const line of this.#all()) {
      if (line.ready) this.#release(line);
      else if (line.refusal !== null) {
        if (this.#listed?.has(line.plan.name) === true) this.#refusal ??= line.refusal;
        this.#refuse(line, line.refusal);
      } else if (line.waiting.size > 0) void this.#declareLate(line);
    }
    this.#listed = null;
  }

  /** The session is gone: the broker may come back without them. */
  dropped(): void {
    this.#generation++;
    for (const line of this.#all()) {
      line.ready = false;
      line.refusal = null;
    }
  }

  /** Declares nothing more. */
  stop(): void {
    this.#stopped.abort();
  }

  /**
   * A topic that contradicts what exists, or that we may not touch, rejects its own messages, and holds up no other topic.
   * While a session opens it is not known whose trouble that is: credentials or a certificate that have run out refuse every
   * declaration as well, and what waits is then to wait on, and no row to be parked. It is the topic's if the session opens.
   */
  async #declare(line: TopicLine, signal: AbortSignal): Promise<void> {
    const generation = this.#generation;
    const limit = new TimeLimit(this.#o.runtime, signal);
    try {
      const { plan, delayMs } = line;
      await Promise.race([this.#make(plan, delayMs, limit.signal), limit.over]);
      if (generation !== this.#generation) return;
      // It may have got more groups, or a longer delay, meanwhile.
      line.ready = line.plan === plan && line.delayMs === delayMs;
      if (line.ready && this.#o.isOpen()) this.#release(line);
    } catch (thrown) {
      if (signal.aborted || !TallyError.is(thrown) || thrown.retryable || generation !== this.#generation) throw thrown;
      if (this.#o.isOpen()) this.#refuse(line, thrown);
      else line.refusal = thrown;
    } finally {
      limit.end();
    }
  }

  #refuse(line: TopicLine, error: TallyError): void {
    line.refusal = null;
    this.#o.runtime.events.emit({ type: "surfaced", what: line.plan.name, text: error.message });
    for (let entry = line.waiting.shift(); entry !== null; entry = line.waiting.shift()) this.#o.refused(entry, error);
  }

  async #make(plan: TopicPlan, delayMs: number, signal: AbortSignal): Promise<void> {
    const { admin } = this.#o.runtime.transport;
    await admin.declare([plan], signal);
    if (delayMs > 0) await admin.declareDelays(plan, delayMs, signal);
  }

  /** For a topic that was first used after the session had opened. */
  async #declareLate(line: TopicLine): Promise<void> {
    if (line.declaring) return;
    line.declaring = true;
    const { clock, random, reconnect } = this.#o.runtime;
    const { signal } = this.#stopped;
    for (let attempt = 1; !line.ready && line.waiting.size > 0 && this.#o.isOpen() && !signal.aborted; attempt++) {
      const late = clock.after(PATIENCE_MS, () => this.#o.undeclared(line, true));
      try {
        await this.#declare(line, signal);
      } catch {
        if (this.#o.isOpen() && !signal.aborted) this.#o.undeclared(line, false);
        // The session may be going down, and its successor declares again; else ask again.
        await sleep(clock, Math.max(1, fullJitter(reconnect, attempt, random)), signal).catch(() => {});
      } finally {
        late.cancel();
      }
    }
    line.declaring = false;
    if (line.ready) this.#release(line);
  }

  *#all(): Iterable<TopicLine> {
    yield* this.#lines.values();
    yield* this.#delayed.values();
  }

  #release(line: TopicLine): void {
    for (let entry = line.waiting.shift(); entry !== null; entry = line.waiting.shift()) this.#o.ready(entry);
  }
}

function lineOf(lines: Map<string, TopicLine>, topic: Named): TopicLine {
  let line = lines.get(topic.name);
  if (line === undefined) lines.set(topic.name, (line = new TopicLine(topic)));
  else line.merge(topic);
  return line;
}
