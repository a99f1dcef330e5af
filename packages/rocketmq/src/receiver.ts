import {
  type Clock,
  type Delivery,
  raced,
  type Receiver,
  type ReceiverEvents,
  type Settlement,
  type Subscription,
  TallyError,
} from "@tallymq/core/spi";
import type { Driver, InMessage, Link } from "./driver/driver.ts";
import { classify } from "./errors.ts";
import { Handing } from "./handing.ts";
import { type Held, Leases } from "./leases.ts";
import { Settling } from "./settling.ts";
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
  readonly #events: ReceiverEvents;
  readonly #o: ReceiverOptions;
  readonly #gone: AbortController = new AbortController();
  readonly #sources: readonly Source[];
  readonly #leases: Leases;
  readonly #handing: Handing;
  readonly #settling: Settling;
  #link: Link | null = null;
  #stopped = false;
  #over = false;
  #disposed: Promise<void> | null = null;

  private constructor(subscription: Subscription, events: ReceiverEvents, options: ReceiverOptions) {
    this.#events = events;
    this.#o = options;
    const { clock, topics, group, standing, invisible, receiveWait } = options;
    this.#leases = new Leases(clock, group, invisible, () => this.#link);
    this.#handing = new Handing(subscription, events, clock, ++epochs);
    this.#settling = new Settling({
      group,
      leases: this.#leases,
      standing,
      link: () => this.#link!,
      failed: (some, why) => {
        const deliveries = some.map((held) => this.#handing.delivery(held));
        this.#events.unsettled(deliveries, classify(why, this.#where, "open"));
      },
    });
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
          room: () => this.#handing.room,
          came: (messages) => this.#came(messages),
          failed: (thrown) => this.#lost(thrown),
          surfaced: (text) => this.#events.surfaced(text),
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
      receiver.#begin(receiver.#link);
      return receiver;
    } catch (thrown) {
      receiver.#end();
      throw signal.aborted ? signal.reason : classify(thrown, receiver.#where, "opening");
    }
  }

  settle(batch: readonly Settlement[]): void {
    if (this.#over) return;
    for (const settlement of batch) {
      const held = this.#handing.of(settlement.delivery);
      if (held === undefined) continue;
      this.#handing.settled(held);
      if (settlement.kind === "ack") this.#settling.ack(held);
      else this.#settling.release(held, settlement.afterMs);
    }
    this.#fill();
    this.#handing.due();
  }

  async extend(delivery: Delivery, ms: number): Promise<boolean> {
    const held = this.#handing.of(delivery);
    if (this.#over || held === undefined) return false;
    return (await this.#leases.change(held, ms)) === null;
  }

  pause(): void {
    this.#handing.pause();
  }

  resume(): void {
    this.#handing.resume();
    this.#fill();
  }

  /** What a request still brings is made visible again. */
  stop(): Promise<void> {
    this.#stopped = true;
    this.#giveBack(this.#handing.stop());
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed ??= this.#leave();
    return this.#disposed;
  }

  async #leave(): Promise<void> {
    if (!this.#over) {
      const gives = this.#handing.size > 0;
      await this.stop();
      this.#settling.flush();
      // A request that is given up stays with the broker for a while. What becomes visible then goes to nobody, and comes
      // again seconds later; so, where there is something to give back, our own requests end first.
      if (gives) await Promise.all(this.#sources.map((source) => source.idle()));
      this.#giveBack(this.#handing.takeOut());
      await this.#settling.idle();
    }
    this.#end();
    await this.#link?.close();
    this.#o.ended(this);
  }

  get #where(): string {
    return `group ${JSON.stringify(this.#o.group)}`;
  }

  #begin(link: Link): void {
    // Its end may come in one piece with its beginning; the orphans are then the next one's.
    if (this.#over) return;
    this.#leases.start();
    for (const orphan of this.#o.orphans) this.#settling.giveUp(link, orphan);
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
    this.#handing.came(came);
  }

  #giveBack(some: readonly Held[]): void {
    for (const held of some) this.#settling.release(held, 0);
  }

  #end(): void {
    this.#over = true;
    this.#gone.abort(new TallyError("closed", "the session is over"));
    this.#leases.stop();
    this.#handing.stop();
    this.#settling.stop();
  }

  #lost(thrown: unknown): void {
    if (this.#over) return;
    this.#end();
    for (const { message, handle } of this.#leases.all) {
      this.#o.standing.released(message);
      this.#o.orphans.add({ ...message, handle });
    }
    void this.#link?.close();
    this.#events.lost(classify(thrown, this.#where, "open"));
  }
}
