// Over 300 lines: one session; what it holds, hands out and settles is one state.
import {
  type Clock,
  type Delivery,
  raced,
  type Receiver,
  type ReceiverEvents,
  type Settlement,
  spoofedHeaders,
  type Subscription,
  TallyError,
  type Timer,
} from "@tallymq/core/spi";
import { dueOf, incoming, ownHeaders } from "./codec.ts";
import { type Driver, type InMessage, type Link, OK } from "./driver/driver.ts";
import { StatusError } from "./driver/grpc.ts";
import { classify } from "./errors.ts";
import { type Held, Leases } from "./leases.ts";
import { Source } from "./source.ts";
import type { Standing } from "./standing.ts";

let epochs = 0;

export interface ReceiverOptions {
  /** The session has closed its connection. */
  readonly ended: (session: AsyncDisposable) => void;
  readonly driver: Driver;
  readonly clock: Clock;
  /** The group, and what its members read, by their names on the broker. */
  readonly group: string;
  readonly topics: readonly string[];
  readonly standing: Standing;
  /** Of sessions that were lost: theirs until the broker hears otherwise. */
  readonly orphans: Set<InMessage>;
  readonly invisible: number;
  readonly receiveWait: number;
}

/** A handler that is done acks in the same tick as its neighbours: one request has them all, up to so many. */
const MOST_ACKS = 64;
/** The only lane: whoever pops has no say in the queue. */
const LANE = 0;

/**
 * A session for receiving: one connection, and for each topic that the group reads some requests that wait for messages.
 *
 *     asked ──▶ held (not yet due, paused, beyond the credit) ──▶ out ──▶ acked, or released: invisible for a while
 *                 └──────────────── leases: renewed at half of the invisible time ────────┘
 *
 * What is held or out is nobody else's while its lease is renewed. When the session ends what is unsettled is made visible
 * again; when it is lost the next session of the group here does that.
 */
export class RocketReceiver implements Receiver {
  readonly #subscription: Subscription;
  readonly #events: ReceiverEvents;
  readonly #o: ReceiverOptions;
  readonly #epoch: number = ++epochs;
  readonly #gone: AbortController = new AbortController();
  readonly #sources: readonly Source[];
  readonly #leases: Leases;
  readonly #out: Map<unknown, Held> = new Map();
  #held: Held[] = [];
  #acks: Held[] = [];
  readonly #flushes: Set<Promise<void>> = new Set();
  #link: Link | null = null;
  #handDue = false;
  #flushDue = false;
  #dueTimer: Timer | null = null;
  #paused = false;
  #stopped = false;
  #over = false;
  #spoofed = false;
  #disposed: Promise<void> | null = null;

  private constructor(subscription: Subscription, events: ReceiverEvents, options: ReceiverOptions) {
    this.#subscription = subscription;
    this.#events = events;
    this.#o = options;
    const { clock, topics, group, invisible, receiveWait } = options;
    this.#leases = new Leases(clock, group, invisible, () => this.#link);
    this.#sources = topics.map(
      (topic) =>
        new Source({
          topic,
          group,
          ordered: subscription.topic.ordered && topic === topics[0],
          invisible,
          receiveWait,
          clock,
          signal: this.#gone.signal,
          stopped: () => this.#stopped,
          link: () => this.#link,
          room: () => (this.#paused ? 0 : subscription.credit - this.#out.size - this.#held.length),
          came: (messages) => this.#came(messages),
          failed: (thrown) => this.#lost(thrown),
        }),
    );
  }

  static async open(
    subscription: Subscription,
    events: ReceiverEvents,
    options: ReceiverOptions,
    signal: AbortSignal,
  ): Promise<RocketReceiver> {
    const receiver = new RocketReceiver(subscription, events, options);
    const { driver, group, topics, receiveWait } = options;
    try {
      const opening = driver.open(
        { kind: "consumer", group, topics, waitMs: receiveWait },
        { lost: (thrown) => receiver.#lost(thrown), asked: () => {} },
        signal,
      );
      receiver.#link = await raced(opening, signal, (late) => void late.close());
      receiver.#begin();
      return receiver;
    } catch (thrown) {
      receiver.#end();
      throw signal.aborted ? signal.reason : classify(thrown, `group ${JSON.stringify(group)}`, "opening");
    }
  }

  settle(batch: readonly Settlement[]): void {
    if (this.#over) return;
    for (const settlement of batch) {
      const { delivery } = settlement;
      const held = delivery.epoch === this.#epoch ? this.#out.get(delivery.token) : undefined;
      if (held === undefined) continue;
      this.#out.delete(delivery.token);
      if (settlement.kind === "ack") {
        this.#acks.push(held);
        this.#flush();
      } else this.#background(this.#release(held, settlement.afterMs));
    }
    this.#fill();
    this.#hand();
  }

  async extend(delivery: Delivery, ms: number): Promise<boolean> {
    const held = delivery.epoch === this.#epoch ? this.#out.get(delivery.token) : undefined;
    if (this.#over || held === undefined) return false;
    return (await this.#leases.change(held, ms)) === null;
  }

  pause(): void {
    this.#paused = true;
  }

  resume(): void {
    this.#paused = false;
    this.#fill();
    this.#hand();
  }

  /** What a request still brings is made visible again. */
  stop(): Promise<void> {
    if (!this.#stopped) {
      this.#stopped = true;
      this.#dueTimer?.cancel();
      this.#giveBack(this.#held.splice(0));
    }
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#leave();
    return this.#disposed;
  }

  async #leave(): Promise<void> {
    const over = this.#over;
    if (!over) {
      const gives = this.#out.size + this.#held.length > 0;
      await this.stop();
      this.#flushNow();
      // A request that is given up stays with the broker for a while. What becomes visible then goes to nobody, and comes
      // again seconds later; so, where there is something to give back, our own requests end first.
      if (gives) await Promise.all(this.#sources.map((source) => source.idle()));
      this.#giveBack([...this.#out.values()]);
      this.#out.clear();
      while (this.#flushes.size > 0) await Promise.allSettled(this.#flushes);
    }
    this.#end();
    await this.#link?.close();
    this.#o.ended(this);
  }

  // ── deliveries ──────────────────────────────────────────────────────────────

  #begin(): void {
    this.#leases.start();
    for (const orphan of this.#o.orphans) {
      const { topic, messageId, handle } = orphan;
      const work = this.#link!.invisible(this.#o.group, topic, { messageId, handle }, 1);
      this.#background(work.then(() => {}).catch(() => {}));
    }
    this.#o.orphans.clear();
    this.#fill();
  }

  #fill(): void {
    if (this.#over) return;
    for (const source of this.#sources) source.fill();
  }

  #came(messages: readonly InMessage[]): void {
    const now = this.#o.clock.now();
    const came = messages.map((message): Held => ({ message, handle: message.handle, since: now, changing: null }));
    for (const { message } of came) this.#o.standing.out(message);
    if (this.#over) {
      for (const { message } of came) {
        this.#o.standing.released(message);
        this.#o.orphans.add(message);
      }
      return;
    }
    if (this.#stopped) return this.#giveBack(came);
    for (const held of came) this.#leases.add(held);
    this.#held.push(...came);
    this.#hand();
  }

  /** What one tick settles and receives is handed out together: up to the credit, and what is due. */
  #hand(): void {
    if (this.#handDue) return;
    this.#handDue = true;
    queueMicrotask(() => {
      this.#handDue = false;
      if (this.#over || this.#stopped || this.#paused || this.#held.length === 0) return;
      const wall = this.#o.clock.wall();
      const kept: Held[] = [];
      const taken: Held[] = [];
      let next = Infinity;
      const room = this.#subscription.credit - this.#out.size;
      // Those whose time came first go first; the others as they came.
      for (const held of this.#held.toSorted((a, b) => dueOf(a.message) - dueOf(b.message))) {
        const due = dueOf(held.message);
        if (due <= wall && taken.length < room) taken.push(held);
        else {
          kept.push(held);
          if (due > wall) next = Math.min(next, due);
        }
      }
      this.#held = kept;
      this.#dueTimer?.cancel();
      this.#dueTimer = next === Infinity ? null : this.#o.clock.after(Math.ceil(next - wall), () => this.#hand());
      if (taken.length === 0) return;
      for (const held of taken) this.#out.set(held, held);
      this.#events.deliver(taken.map((held) => this.#delivery(held)));
    });
  }

  #delivery(held: Held): Delivery {
    const { message } = held;
    if (!this.#spoofed) this.#lookForSpoofed(message);
    return {
      token: held,
      lane: LANE,
      epoch: this.#epoch,
      place: null,
      count: null,
      message: incoming(this.#subscription.topic.name, message),
    };
  }

  /** Once a session: whoever floods us with such messages must not flood the log too. */
  #lookForSpoofed(message: InMessage): void {
    const spoofed = spoofedHeaders(ownHeaders(message));
    if (spoofed.length === 0) return;
    this.#spoofed = true;
    const { topic, group } = this.#subscription;
    this.#events.surfaced(
      `a message of ${topic.name} for ${group} has a ${spoofed.join(" and a ")} that no Tally has written: read as if it were not there`,
    );
  }

  // ── settlements ─────────────────────────────────────────────────────────────

  #flush(): void {
    if (this.#flushDue) return;
    this.#flushDue = true;
    queueMicrotask(() => {
      this.#flushDue = false;
      this.#flushNow();
    });
  }

  #flushNow(): void {
    if (this.#over) return;
    const acks = this.#acks.splice(0);
    for (const [topic, some] of Map.groupBy(acks, ({ message }) => message.topic))
      for (let at = 0; at < some.length; at += MOST_ACKS)
        this.#background(this.#ack(topic, some.slice(at, at + MOST_ACKS)));
  }

  async #ack(topic: string, some: readonly Held[]): Promise<void> {
    // An ack of a handle that is being renewed would be one of a handle that counts no more.
    await Promise.all(some.map(async ({ changing }) => await changing));
    const failed: Held[] = [];
    let why: unknown = null;
    try {
      const entries = some.map(({ message, handle }) => ({ messageId: message.messageId, handle }));
      const answer = await this.#link!.ack(this.#o.group, topic, entries);
      for (const held of some) {
        const status = answer.entries.get(held.handle) ?? answer.status;
        if (status.code === OK) continue;
        failed.push(held);
        why = new StatusError(status);
      }
    } catch (thrown) {
      failed.push(...some);
      why = thrown;
    }
    for (const held of some) {
      this.#leases.drop(held);
      if (failed.includes(held)) this.#o.standing.released(held.message);
      else this.#o.standing.done(held.message);
    }
    if (failed.length > 0 && !this.#over) this.#unsettled(failed, why);
  }

  async #release(held: Held, afterMs: number): Promise<void> {
    const failed = await this.#leases.change(held, Math.max(1, Math.ceil(afterMs)));
    this.#leases.drop(held);
    this.#o.standing.released(held.message);
    if (failed !== null && !this.#over) this.#unsettled([held], failed);
  }

  #giveBack(some: readonly Held[]): void {
    for (const held of some) this.#background(this.#release(held, 0));
  }

  #unsettled(some: readonly Held[], why: unknown): void {
    const error = classify(why, `group ${JSON.stringify(this.#o.group)}`, "open");
    this.#events.unsettled(
      some.map((held) => this.#delivery(held)),
      error,
    );
  }

  #background(work: Promise<void>): void {
    const done = work.catch(() => {}).finally(() => this.#flushes.delete(done));
    this.#flushes.add(done);
  }

  // ── the end ─────────────────────────────────────────────────────────────────

  #end(): void {
    this.#over = true;
    this.#gone.abort(new TallyError("closed", "the session is over"));
    this.#leases.stop();
    this.#dueTimer?.cancel();
    this.#dueTimer = null;
  }

  #lost(thrown: unknown): void {
    if (this.#over) return;
    this.#end();
    for (const { message, handle } of this.#leases.all) {
      this.#o.standing.released(message);
      this.#o.orphans.add({ ...message, handle });
    }
    void this.#link?.close();
    this.#events.lost(classify(thrown, `group ${JSON.stringify(this.#o.group)}`, "open"));
  }
}
