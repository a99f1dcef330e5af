import { TallyError } from "../error.ts";
import { failpoint } from "../failpoints.ts";
import type { Outgoing } from "../message.ts";
import type { Runtime } from "../runtime.ts";
import type { SchemaResult } from "../schema.ts";
import type { PutResult } from "../stores.ts";
import { isTopic, type Topic } from "../topic.ts";
import type { Answers } from "./answers.ts";
import type { Ends } from "./ends.ts";
import { Entry } from "./entry.ts";
import { take, type Taken } from "./intake.ts";
import type { Own, PublishOptions, Receipt } from "./options.ts";
import { asError, assertValid } from "./rejections.ts";
import type { Spilling } from "./spilling.ts";
import type { Timers } from "./timers.ts";
import type { TopicLine } from "./topic-line.ts";
import type { Topics } from "./topics.ts";
import type { Transacted } from "./transacted.ts";
import { ENDED } from "./transitions.ts";
import type { Turns } from "./turns.ts";

export interface CallsOptions {
  readonly runtime: Runtime;
  readonly answers: Answers;
  readonly ends: Ends;
  readonly spilling: Spilling | null;
  readonly timers: Timers;
  readonly topics: Topics;
  readonly transacted: Transacted | null;
  readonly turns: Turns;
}

/** What comes in, as long as anything does: a call becomes a message of its own, joins the one of its id, or is refused. */
export class Calls {
  readonly #o: CallsOptions;
  #open = true;

  constructor(options: CallsOptions) {
    this.#o = options;
  }

  publish<In>(topic: Topic<In, unknown>, body: In, options?: PublishOptions, own: Own | null = null): Promise<Receipt> {
    const { answers, ends, runtime, spilling, timers, topics, transacted, turns } = this.#o;
    let taken: Taken;
    let known: TopicLine;
    let line: TopicLine;
    try {
      if (!isTopic(topic))
        throw new TallyError("bad-config", "publish: the first argument must be a topic, made by topic()");
      if (!this.#open) throw new TallyError("closed", "publish() after close()", { id: options?.id });
      taken = take(runtime, topic, body, options, own);
      known = topics.line(topic);
      if (options !== undefined && "tx" in options) return this.#transact(topic, known, taken, options);
      const { delayMs } = taken.message;
      line = delayMs === 0 ? known : topics.delayed(topic, delayMs);
    } catch (thrown) {
      const error = answers.refuse(nameOf(topic), options, thrown);
      if (options?.tx !== undefined) transacted?.refused(options.tx, error);
      return Promise.reject(error);
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
    spilling?.fence(entry, topic);
    if (message.seq === 0) message.seq = ++known.seq;
    entry.since = runtime.clock.now();
    ends.begin(entry);
    if (named) line.byId.set(message.id, entry);
    const caller = answers.call(entry, options);
    entry.caller = caller;
    if (verdict === null) entry.validated = true;
    else this.#await(entry, verdict);
    // Into the window in the order of the calls, also while validation is under way: else one key's later messages could
    // fill the window and wait in it for the first, which would wait for the window.
    turns.enter(entry);
    timers.begin(entry);
    return caller.promise;
  }

  /** Checks a call as `publish()` does, and numbers its message. @throws TallyError */
  draft(topic: Topic<never, unknown>, body: unknown, options: PublishOptions): Taken {
    const { answers, runtime, topics } = this.#o;
    try {
      if (!this.#open) throw new TallyError("closed", "after close()", { id: options.id });
      const taken = take(runtime, topic, body as never, options);
      taken.message.seq = ++topics.line(topic).seq;
      return taken;
    } catch (thrown) {
      throw answers.refuse(topic.name, options, thrown);
    }
  }

  /** A message that the outbox's store has already takes its place among those of its key; `put` makes it a row in its turn. */
  inTurn(message: Outgoing, put: () => Promise<PutResult>): void {
    const { ends, spilling, topics, turns } = this.#o;
    if (ends.closed || spilling === null) return;
    const { topic: name, ordered, key } = message;
    const entry = new Entry(topics.line({ name, ordered, groups: [] }), { ...message });
    entry.mode = "always";
    entry.slot = ordered ? spilling.slot(name, key) : null;
    entry.put = put;
    entry.validated = true;
    ends.carry(entry);
    turns.enter(entry);
  }

  /** Nothing new is taken any more. */
  close(): void {
    this.#open = false;
  }

  #transact(topic: Topic<never, unknown>, line: TopicLine, taken: Taken, options: PublishOptions): Promise<Receipt> {
    const { transacted } = this.#o;
    if (transacted !== null) return transacted.publish(topic, line, taken, options);
    throw new TallyError("bad-config", "publish: tx needs an inbox with transactions, given to openTally", {
      id: taken.message.id,
    });
  }

  /** The same id published again: the same body joins the call in flight, another one is a conflict. */
  #join(entry: Entry, taken: Taken, options: PublishOptions | undefined): Promise<Receipt> {
    const { answers, ends, runtime, timers } = this.#o;
    const { topic, id } = taken.message;
    try {
      answers.assertSame(entry, taken);
    } catch (thrown) {
      return Promise.reject(answers.refuse(topic, options, thrown));
    }
    runtime.events.emit({ type: "joined", topic, id });
    const caller = answers.call(entry, options);
    const first = entry.caller;
    if (first === null) ends.adopt(entry, caller);
    else if (answers.join(entry, first, caller)) timers.arm(entry);
    return caller.promise;
  }

  #await(entry: Entry, verdict: PromiseLike<SchemaResult<unknown>>): void {
    const { ends, turns } = this.#o;
    const failed = (thrown: unknown): void => ends.release(entry, asError(thrown, entry.message.id));
    verdict.then((result) => {
      try {
        assertValid(entry.message, result);
      } catch (invalid) {
        return failed(invalid);
      }
      entry.validated = true;
      turns.advance(entry);
    }, failed);
  }
}

/** Of what may be no topic. */
function nameOf(topic: unknown): string {
  return isTopic(topic) ? topic.name : "";
}
