import { type Clock, type Incoming, LONGEST_TIMER, type Timer } from "@tallymq/core/spi";
import { Places } from "./places.ts";

/** One message in one group's queue. */
export interface Entry {
  readonly place: number;
  readonly message: Incoming;
  /** Wall-clock milliseconds before which it was not to be handed out; 0: at once. */
  readonly dueAt: number;
  /** Deliveries so far. */
  deliveries: number;
}

/** One delivery that has no settlement yet: what a consumer holds and gives back. */
export interface Out {
  readonly entry: Entry;
  readonly count: number;
  /** Null once settled, or given back because its consumer is gone. */
  holder: GroupConsumer | null;
}

/** What becomes of a message, for whoever keeps a log of it. */
export type Fate = "settled" | "dead";

export interface GroupOptions {
  /** One consumer at a time, the one that joined first; the next one when it has left with all that is out at it. */
  readonly ordered: boolean;
  readonly clock: () => Clock;
  readonly maxBacklog: number;
  readonly deliveryLimit: number;
  /** A message has left the queue; called before anyone can see that it has. */
  readonly left: (group: Group, place: number, fate: Fate) => void;
}

/** A consumer of a group, as the engine sees it. */
export interface ConsumerPort {
  /** The array is the consumer's own. */
  deliver(batch: readonly Out[]): void;
  /** The group was removed: nothing more comes. Everything out has been given back. */
  removed(): void;
}

/** One member of a group: what is out at it, and whether it takes more. */
export class GroupConsumer {
  readonly port: ConsumerPort;
  readonly credit: number;
  readonly out: Set<Out> = new Set();
  batch: Out[] = [];
  paused = false;
  readonly #group: Group;

  constructor(group: Group, credit: number, port: ConsumerPort) {
    this.#group = group;
    this.credit = credit;
    this.port = port;
  }

  get wants(): boolean {
    return !this.paused && this.out.size < this.credit;
  }

  /** False: it is not this consumer's, or no longer. */
  ack(out: Out): boolean {
    return this.#group.ack(this, out);
  }

  release(out: Out, afterMs: number): boolean {
    return this.#group.release(this, out, afterMs);
  }

  pause(): void {
    this.paused = true;
  }

  resume(): void {
    this.paused = false;
    this.#group.wake();
  }

  /** What is out goes back to its old place. Idempotent. */
  close(): void {
    this.#group.leave(this);
  }
}

/**
 * A group's own queue of a topic's messages, its consumers, and its dead letters. Deliveries leave in order of place,
 * consumers take turns, and each turn of the queue is one microtask: a consumer gets what has come together as a batch.
 */
export class Group {
  readonly topic: string;
  readonly name: string;
  readonly #o: GroupOptions;
  readonly #waiting: Places<Entry> = new Places();
  readonly #delayed: Map<Entry, Timer> = new Map();
  readonly #dead: Entry[] = [];
  readonly #consumers: GroupConsumer[] = [];
  #turn = 0;
  #woken = false;
  #size = 0;

  constructor(topic: string, name: string, options: GroupOptions) {
    this.topic = topic;
    this.name = name;
    this.#o = options;
  }

  /** Messages neither settled nor dead: reserved, waiting, delayed, and out at consumers. */
  get backlog(): number {
    return this.#size;
  }

  get full(): boolean {
    return this.#size >= this.#o.maxBacklog;
  }

  /** Room for one message that is about to be pushed. */
  reserve(): void {
    this.#size += 1;
  }

  /**
   * A message for which room was reserved; its place is higher than all before.
   * @param dueAt Wall-clock milliseconds: handed out from then on. It keeps its place, ahead of what came after it.
   */
  push(place: number, message: Incoming, dueAt: number): void {
    const entry: Entry = { place, message, dueAt, deliveries: 0 };
    const wait = dueAt === 0 ? 0 : dueAt - this.#o.clock().wall();
    if (wait > 0) return this.#delay(entry, wait);
    this.#waiting.push(entry);
    this.wake();
  }

  /** As after a restart: a message that had died before. */
  pushDead(place: number, message: Incoming): void {
    this.#dead.push({ place, message, dueAt: 0, deliveries: 0 });
  }

  /** A second copy of a message that is out, next in line: what a broker does when it has lost track. */
  duplicate(out: Out): void {
    this.#size += 1;
    this.#waiting.putBack({ ...out.entry });
    this.wake();
  }

  join(credit: number, port: ConsumerPort): GroupConsumer {
    const consumer = new GroupConsumer(this, credit, port);
    this.#consumers.push(consumer);
    this.wake();
    return consumer;
  }

  leave(consumer: GroupConsumer): void {
    const at = this.#consumers.indexOf(consumer);
    if (at < 0) return;
    this.#consumers.splice(at, 1);
    if (at < this.#turn) this.#turn -= 1;
    consumer.paused = true;
    for (const out of consumer.out) this.#giveBack(out, 0);
    consumer.out.clear();
    this.wake();
  }

  ack(consumer: GroupConsumer, out: Out): boolean {
    if (out.holder !== consumer) return false;
    out.holder = null;
    consumer.out.delete(out);
    this.#leave(out.entry.place, "settled");
    this.wake();
    return true;
  }

  release(consumer: GroupConsumer, out: Out, afterMs: number): boolean {
    if (out.holder !== consumer) return false;
    consumer.out.delete(out);
    this.#giveBack(out, afterMs);
    this.wake();
    return true;
  }

  /** Ends the group: its consumers are told, its messages are gone. */
  remove(): void {
    for (const timer of this.#delayed.values()) timer.cancel();
    this.#delayed.clear();
    for (const consumer of [...this.#consumers]) {
      this.leave(consumer);
      consumer.port.removed();
    }
    while (this.#waiting.take() !== undefined);
    this.#size = 0;
  }

  /** What is neither settled nor dead, in order of place. */
  entries(): { readonly entry: Entry; readonly state: "waiting" | "delayed" | "unsettled" }[] {
    const all = [
      ...this.#waiting.list().map((entry) => ({ entry, state: "waiting" as const })),
      ...[...this.#delayed.keys()].map((entry) => ({ entry, state: "delayed" as const })),
      ...this.#consumers.flatMap((c) => [...c.out].map(({ entry }) => ({ entry, state: "unsettled" as const }))),
    ];
    return all.toSorted((a, b) => a.entry.place - b.entry.place);
  }

  dead(): readonly Entry[] {
    return this.#dead;
  }

  /** Hands out what waits, in a microtask of its own: nobody is called back from within the call that led here. */
  wake(): void {
    if (this.#woken || this.#waiting.size === 0 || this.#consumers.length === 0) return;
    this.#woken = true;
    queueMicrotask(() => {
      this.#woken = false;
      this.#handOut();
    });
  }

  #handOut(): void {
    for (let consumer = this.#next(); consumer !== null; consumer = this.#next()) {
      const entry = this.#waiting.take();
      if (entry === undefined) break;
      entry.deliveries += 1;
      const out: Out = { entry, count: entry.deliveries, holder: consumer };
      consumer.out.add(out);
      consumer.batch.push(out);
    }
    for (const consumer of [...this.#consumers]) {
      const batch = consumer.batch;
      if (batch.length === 0) continue;
      consumer.batch = [];
      // From its callback one consumer may have closed or paused another: closed, that one has given its batch back.
      if (consumer.paused) this.#takeBack(consumer, batch);
      else consumer.port.deliver(batch);
    }
  }

  /** The next consumer in turn that takes one more. */
  #next(): GroupConsumer | null {
    // Also while the first one is paused or has stopped: what is out at it comes before what waits.
    const count = this.#o.ordered ? Math.min(1, this.#consumers.length) : this.#consumers.length;
    for (let i = 0; i < count; i++) {
      const at = (this.#turn + i) % count;
      const consumer = this.#consumers[at]!;
      if (!consumer.wants) continue;
      this.#turn = at + 1;
      return consumer;
    }
    return null;
  }

  #giveBack(out: Out, afterMs: number): void {
    out.holder = null;
    const entry = out.entry;
    if (entry.deliveries >= this.#o.deliveryLimit) {
      this.#dead.push(entry);
      this.#leave(entry.place, "dead");
      return;
    }
    if (afterMs <= 0) {
      this.#waiting.putBack(entry);
      return;
    }
    this.#delay(entry, afterMs);
  }

  #delay(entry: Entry, ms: number): void {
    const timer = this.#o.clock().after(Math.min(ms, LONGEST_TIMER), () => {
      this.#delayed.delete(entry);
      this.#waiting.putBack(entry);
      this.wake();
    });
    this.#delayed.set(entry, timer);
  }

  /** What was about to be delivered was not: it does not count. */
  #takeBack(consumer: GroupConsumer, batch: readonly Out[]): void {
    for (const out of batch) {
      if (out.holder !== consumer) continue;
      out.holder = null;
      consumer.out.delete(out);
      out.entry.deliveries -= 1;
      this.#waiting.putBack(out.entry);
    }
    this.wake();
  }

  #leave(place: number, fate: Fate): void {
    this.#size -= 1;
    this.#o.left(this, place, fate);
  }
}
