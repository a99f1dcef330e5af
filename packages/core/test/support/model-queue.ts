import type { VirtualClock } from "@tallymq/testkit";
import {
  type Delivery,
  type Receiver,
  type ReceiverEvents,
  type Settlement,
  type Subscription,
  TallyError,
} from "../../src/spi.ts";
import { SettledPrefix } from "./settled-prefix.ts";
import { asJson, incoming, ScriptedTransport } from "./receiving.ts";

export interface Queued {
  readonly seq: number;
  readonly key: string | null;
  deliveries: number;
}

interface Session {
  readonly events: ReceiverEvents;
  readonly credit: number;
  readonly unacked: Map<number, Queued>;
  tag: number;
  open: boolean;
}

type Frame = { readonly nack: number } | { readonly ack: number; readonly multiple: boolean };

/**
 * A quorum queue with one consumer, as RabbitMQ's behaves, with time on the wire in both directions: what is returned
 * goes into a queue of its own in the order of its return, served first; what a lost session held goes back to its place.
 * Its adapter merges acks over the settled prefix, and keeps a list of the tags that each ack covered.
 */
export class ModelQueue extends ScriptedTransport {
  readonly #clock: VirtualClock;
  readonly #latency: number;
  #ready: Queued[];
  #returned: Queued[] = [];
  #session: Session | null = null;
  /** Called for each tag that an ack of the adapter covers, when the broker takes it. */
  onAcked: (message: Queued, tag: number, session: number) => void = () => {};
  sessions = 0;
  merged = 0;
  /** Frames under way, each of them a timer. */
  onWire = 0;

  constructor(clock: VirtualClock, latency: number, messages: readonly Queued[]) {
    super();
    this.#clock = clock;
    this.#latency = latency;
    this.#ready = [...messages];
  }

  get size(): number {
    return this.#ready.length + this.#returned.length + (this.#session?.unacked.size ?? 0);
  }

  override openReceiver(subscription: Subscription, events: ReceiverEvents): Promise<Receiver> {
    const session: Session = {
      events,
      credit: subscription.credit,
      unacked: new Map<number, Queued>(),
      tag: 0,
      open: true,
    };
    const epoch = ++this.sessions;
    this.#session = session;
    const prefix = new SettledPrefix(1);
    const send = (frame: Frame): void =>
      this.#wire(() => {
        if (session.open) this.#take(frame, epoch);
      });
    this.#wire(() => this.#pump(epoch));
    return Promise.resolve({
      settle(batch: readonly Settlement[]) {
        const before = prefix.end;
        // Returns first: a merged ack that overtook them would cover, and lose, what is to come again.
        for (const { kind, delivery } of batch) if (kind === "release") send({ nack: delivery.token as number });
        for (const { delivery } of batch) prefix.settle(delivery.token as number);
        if (prefix.end > before) send({ ack: prefix.end, multiple: true });
        for (const { kind, delivery } of batch) {
          if (kind === "ack" && prefix.beyond.has(delivery.token as number))
            send({ ack: delivery.token as number, multiple: false });
        }
      },
      extend: () => Promise.resolve(true),
      pause() {},
      resume() {},
      stop: () => Promise.resolve(),
      [Symbol.asyncDispose]: () => {
        this.#end(session);
        return Promise.resolve();
      },
    });
  }

  /** Cuts the connection: frames under way are lost, unacked messages go back. */
  cut(): void {
    const session = this.#session;
    if (session === null) return;
    this.#end(session);
    session.events.lost(new TallyError("session-lost", "cut", { retryable: true }));
  }

  #wire(arrives: () => void): void {
    this.onWire++;
    this.#clock.after(this.#latency, () => {
      this.onWire--;
      arrives();
    });
  }

  #end(session: Session): void {
    if (!session.open) return; // disposed of after it was cut
    session.open = false;
    this.#session = null;
    this.#ready = [...session.unacked.values(), ...this.#returned, ...this.#ready].sort((a, b) => a.seq - b.seq);
    this.#returned = [];
  }

  #take(frame: Frame, epoch: number): void {
    const { unacked } = this.#session!;
    if ("nack" in frame) {
      const message = unacked.get(frame.nack);
      if (message !== undefined) this.#returned.push(message);
      unacked.delete(frame.nack);
    } else {
      const tags = frame.multiple ? [...unacked.keys()].filter((tag) => tag <= frame.ack) : [frame.ack];
      if (tags.length > 1) this.merged++;
      for (const tag of tags) {
        const message = unacked.get(tag);
        if (message === undefined) throw new Error(`acked twice: tag ${tag}`);
        this.onAcked(message, tag, epoch);
        unacked.delete(tag);
      }
    }
    this.#pump(epoch);
  }

  #pump(epoch: number): void {
    const session = this.#session;
    if (session === null || this.sessions !== epoch) return;
    const batch: Delivery[] = [];
    while (session.unacked.size < session.credit) {
      const message = this.#returned.shift() ?? this.#ready.shift();
      if (message === undefined) break;
      const tag = ++session.tag;
      session.unacked.set(tag, message);
      const id = `m${message.seq}`;
      const body = asJson({ seq: message.seq, tag, session: epoch });
      batch.push({
        token: tag,
        lane: 0,
        epoch,
        place: null,
        count: ++message.deliveries,
        message: incoming({ id, key: message.key, body }),
      });
    }
    if (batch.length === 0) return;
    this.#wire(() => {
      if (session.open) session.events.deliver(batch);
    });
  }
}
