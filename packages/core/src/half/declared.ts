import { atMost, type Timer } from "../clock.ts";
import { milliseconds } from "../duration.ts";
import { describe, TallyError } from "../error.ts";
import type { Incoming, Outgoing } from "../message.ts";
import { integer, text } from "../policy.ts";
import type { Taken } from "../publish/intake.ts";
import type { PublishOptions } from "../publish/options.ts";
import { asError, assertValid, sameBytes } from "../publish/rejections.ts";
import type { Runtime } from "../runtime.ts";
import type { Decision } from "../port/half.ts";
import type { PutResult } from "../stores.ts";
import type { Topic } from "../topic.ts";
import { ask } from "./ask.ts";
import type { BrokerHalves } from "./broker.ts";
import type { HalfKind } from "./kind.ts";
import { HalfMessage } from "./message.ts";
import type { Half, HalfReceipt, HalfRunOptions, resolveHalf, UndecidedHalf } from "./options.ts";
import type { HalfOwner, HalfStore } from "./store.ts";

/** What half messages need of the publisher. */
export interface HalfPublisher {
  /** It will be sent to: declared with the groups that it names. @throws TallyError `bad-config` */
  know(topic: Topic<never, unknown>): void;
  /** @throws TallyError as `publish()` does for what cannot be sent */
  draft(topic: Topic<never, unknown>, body: unknown, options: PublishOptions): Taken;
  slot(topic: string, key: string | null): number;
  /** `put` is called when the turn of this message among those of its key has come. */
  inTurn(message: Outgoing, put: () => Promise<PutResult>): void;
  /** There is a new row in the outbox. */
  stored(): void;
}

export interface HalvesOptions {
  readonly runtime: Runtime;
  readonly store: HalfStore;
  /** Null where the broker keeps no half messages. */
  readonly broker: BrokerHalves | null;
  readonly publisher: HalfPublisher;
  /** How long a `run()` waits for another process that is at the same half message, by default. */
  readonly deadlineMs: number;
  /** Fires when the tally closes: nothing begins, and nothing is tried again. */
  readonly closing: AbortSignal;
}

/** Half messages whose process died: nobody tells us of them. */
const POLL_MS = 1_000;
/** Checked at the same time, for one name. */
const MOST_CHECKS = 16;
const MOST_LISTED = integer(100, 1, 1_000_000);
const ID = text("");
/** Committed ones that wait for the broker's proof are in memory up to this number, with those at work. */
const MOST_ACTIVE = 2_000;

type Work = Parameters<Half<never>["run"]>[1];

/** A declared kind of half message: its runs, and the look-out for those that nobody is at. */
export class DeclaredHalf implements Half<never> {
  readonly name: string;
  readonly #o: HalvesOptions;
  readonly #topic: Topic<never, never>;
  readonly #owner: HalfOwner;
  readonly #kind: HalfKind;
  readonly #active: Set<HalfMessage> = new Set();
  readonly #runs: Map<string, { readonly message: Outgoing; readonly promise: Promise<HalfReceipt> }> = new Map();
  #timer: Timer | null = null;
  #saidStore = false;
  #rested: (() => void) | null = null;

  constructor(declared: ReturnType<typeof resolveHalf> & { readonly name: string }, options: HalvesOptions) {
    const { runtime, store, publisher, closing } = options;
    this.name = declared.name;
    this.#o = options;
    this.#topic = declared.topic;
    this.#owner = { destination: runtime.transport.name, producer: runtime.service, name: declared.name };
    this.#kind = {
      ...declared,
      runtime,
      store,
      broker: declared.policy.keep === "outbox" ? null : options.broker,
      closing,
      inTurn: (message, put) => publisher.inTurn(message, put),
      stored: () => publisher.stored(),
      crowded: () => this.#active.size > MOST_ACTIVE,
      ended: (message) => {
        this.#active.delete(message);
        if (!this.#working()) this.#rested?.();
      },
    };
    publisher.know(declared.topic);
    const { name: topic, ordered, groups } = declared.topic;
    this.#kind.broker?.declare(this.name, { name: topic, ordered, groups }, (message) => this.#asked(message));
    void this.#look();
  }

  run(body: never, work: Work, options: HalfRunOptions = {}): Promise<HalfReceipt> {
    try {
      const taken = this.#call(body, work, options);
      const { message } = taken;
      const known = this.#runs.get(message.id);
      if (known !== undefined) {
        taken.verdict?.then(undefined, () => {});
        if (known.message.key === message.key && sameBytes(known.message.body, message.body)) return known.promise;
        throw new TallyError("conflict", `${message.id} is at work in half ${this.name} with another body or key`, {
          id: message.id,
        });
      }
      const promise = this.#start(taken, work, options).finally(() => this.#runs.delete(message.id));
      this.#runs.set(message.id, { message, promise });
      return promise;
    } catch (thrown) {
      return Promise.reject(asError(thrown, null));
    }
  }

  async undecided(most: number = MOST_LISTED.default): Promise<readonly UndecidedHalf[]> {
    MOST_LISTED.read(`half ${this.name}: undecided: most`, most);
    const halves = await this.#o.store.list(this.#owner, most);
    return halves.map(({ row, checks, preparedAt, parkedAt, reason }) => {
      const { id, key } = row.message;
      return { id, key, checks, preparedAt, parkedAt, reason };
    });
  }

  async decide(id: string, decision: "commit" | "rollback"): Promise<"commit" | "rollback" | null> {
    if (decision !== "commit" && decision !== "rollback")
      throw new TallyError("bad-config", `half ${this.name}: a decision is "commit" or "rollback"`, { id });
    ID.read(`half ${this.name}: decide: id`, id);
    const { store, runtime, publisher } = this.#o;
    const topic = this.#topic;
    const there = await store.find(this.#owner, topic.name, id);
    const recorded =
      there === null ? null : await store.decide(there.place, decision, !topic.ordered && this.#kind.broker === null);
    if (there === null || recorded === null) return null;
    if (recorded.decision === decision)
      runtime.events.emit({ type: "half-decided", name: this.name, topic: topic.name, id, decision, by: "person" });
    if (recorded.released) publisher.stored();
    else if (recorded.decision === "commit") await this.#release(there.place);
    return recorded.decision;
  }

  /** Begins nothing; resolves when what is at work has come to its end, or at the limit, when it is left to `check`. */
  async close(within: number): Promise<void> {
    const { clock } = this.#o.runtime;
    this.#timer?.cancel();
    if (this.#working()) await atMost(clock, within, new Promise<void>((resolve) => (this.#rested = resolve)));
    for (const half of [...this.#active]) {
      if (!half.atWork) continue;
      const { id } = half.row.message;
      const text = "the tally is closed, and no decision is recorded: check will be asked";
      half.close(new TallyError("closed", text, { id, mayArrive: true, retryable: true }));
    }
  }

  /** @throws TallyError before anything is stored */
  #call(body: never, work: Work, options: HalfRunOptions): Taken {
    if (this.#o.closing.aborted) throw new TallyError("closed", "run() after close()", { id: options.id });
    if (typeof work !== "function")
      throw new TallyError("bad-config", `half ${this.name}: run() needs work, a function that returns the decision`);
    for (const none of ["tx", "delay"])
      if (none in options)
        throw new TallyError("unsupported", `half ${this.name}: a half message has no ${none}`, { id: options.id });
    return this.#o.publisher.draft(this.#topic, body, options);
  }

  async #start({ message, verdict }: Taken, work: Work, options: HalfRunOptions): Promise<HalfReceipt> {
    const { runtime, publisher, deadlineMs } = this.#o;
    const { id } = message;
    const { signal = null, deadline } = options;
    const within = deadline === undefined ? deadlineMs : milliseconds("run: deadline", deadline);
    if (verdict !== null) {
      assertValid(message, await verdict);
      // A slow schema may be outlived by whoever asked.
      if (this.#o.closing.aborted) throw new TallyError("closed", "the tally was closed meanwhile", { id });
      if (signal?.aborted === true) throw new TallyError("aborted", "run() was aborted", { id, cause: signal.reason });
    }
    const row = {
      destination: runtime.transport.name,
      slot: message.ordered ? publisher.slot(message.topic, message.key) : null,
      message: { ...message },
      doubtful: false,
      lane: null,
      dedupeForMs: this.#topic.dedupeFor,
    };
    const { promise, resolve, reject } = Promise.withResolvers<HalfReceipt>();
    const half = HalfMessage.run(this.#kind, row, { work, signal, resolve, reject });
    this.#active.add(half);
    // Neither has a say any more once the work has begun.
    const limit = runtime.clock.after(within, () => {
      const text = half.busy ? `another process is at ${id}` : `no work was done within ${within} ms: no answer yet`;
      half.giveUp(new TallyError("deadline", text, { id, retryable: true }));
    });
    const aborted = (): void => {
      half.giveUp(new TallyError("aborted", "run() was aborted", { id, cause: signal?.reason }));
    };
    signal?.addEventListener("abort", aborted);
    return await promise.finally(() => {
      limit.cancel();
      signal?.removeEventListener("abort", aborted);
    });
  }

  /** The broker asks about a half message that it keeps: the record answers, or `check` where there is none. */
  async #asked(message: Incoming): Promise<Decision> {
    const { id, key, headers } = message;
    if (id === null) return "unknown";
    const there = await this.#o.store.find(this.#owner, this.#topic.name, id);
    if (there === null) {
      // Of another machine, or its machine's disk is lost.
      const { answer } = await ask(this.#kind, message, { id, key, headers, signal: this.#o.closing });
      return answer;
    }
    // Released: it went by another copy, or was seen among the broker's messages.
    if (there.state === "rolledBack" || there.state === "released") return "rollback";
    const ours = (): HalfMessage | undefined => [...this.#active].find(({ place }) => place === there.place);
    if (ours() === undefined && there.free) await this.#due();
    return (await ours()?.asked(message)) ?? "unknown";
  }

  /** Those of processes that died: a look a second. */
  async #look(): Promise<void> {
    await this.#due();
    if (!this.#o.closing.aborted) this.#timer = this.#o.runtime.clock.after(POLL_MS, () => void this.#look());
  }

  async #due(): Promise<void> {
    const { store, runtime, closing } = this.#o;
    const room = MOST_CHECKS - [...this.#active].filter((message) => message.place !== null && message.atWork).length;
    try {
      const due = room > 0 ? await store.due(this.#owner, this.#kind.policy.lease, room) : [];
      this.#saidStore = false;
      for (const half of due) {
        const ours = [...this.#active].find((message) => message.place === half.place);
        if (ours !== undefined) ours.again(half);
        else if (!closing.aborted) this.#active.add(HalfMessage.found(this.#kind, half));
      }
    } catch (thrown) {
      const text = `what is undecided could not be read: ${describe(thrown)}`;
      if (!this.#saidStore) runtime.events.emit({ type: "surfaced", what: `half ${this.name}`, text });
      this.#saidStore = true;
    }
  }

  /** Whoever is at it finds it committed, and releases it. */
  async #release(place: number): Promise<void> {
    if ([...this.#active].some((message) => message.place === place)) return;
    const half = (await this.#o.store.list(this.#owner, Number.MAX_SAFE_INTEGER)).find((each) => each.place === place);
    if (half !== undefined) this.#active.add(HalfMessage.found(this.#kind, half));
  }

  #working(): boolean {
    return [...this.#active].some((message) => message.atWork);
  }
}
