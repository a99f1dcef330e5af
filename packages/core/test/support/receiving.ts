import { seededRandom, virtualClock, type VirtualClock } from "@tallymq/testkit";
import type { ConsumerPorts } from "../../src/consume/ports.ts";
import { createConsumerBuilder } from "../../src/consume/consumer.ts";
import type { Consumer, ConsumerBuilder, ConsumerOptions } from "../../src/consume/options.ts";
import { createEvents, type EventType, type TallyEvent } from "../../src/events.ts";
import { MemoryBound } from "../../src/memory.ts";
import { Runners } from "../../src/park/runners.ts";
import type { Runtime } from "../../src/runtime.ts";
import {
  type Delivery,
  type Incoming,
  type Receiver,
  type ReceiverEvents,
  type Settlement,
  type Subscription,
  TallyError,
  type TopicPlan,
  type Traits,
  type Transport,
} from "../../src/spi.ts";

const TRAITS: Traits = {
  maxBytes: 1 << 20,
  inFlightPerLane: "window",
  lingerMs: 0,
  resendsInSession: false,
  unroutable: "reported",
  order: "queue",
  release: "now",
  deliveryLease: "fixed",
  position: false,
  countsDeliveries: true,
  longestDelay: 0,
  aheadBytes: 0,
};

/** A receiver session whose wire the test holds in its hands. */
export class ScriptedReceiver implements Receiver {
  readonly subscription: Subscription;
  readonly events: ReceiverEvents;
  /** As handed over, batch by batch. */
  readonly batches: (readonly Settlement[])[] = [];
  readonly epoch: number;
  stopped = false;
  disposed = false;
  /** What `stop` and `dispose` wait for. */
  leaving: Promise<void> = Promise.resolve();
  #tag = 0;

  constructor(subscription: Subscription, events: ReceiverEvents, epoch: number) {
    this.subscription = subscription;
    this.events = events;
    this.epoch = epoch;
  }

  /** Delivers messages in one batch; gives the deliveries. */
  deliver(
    ...messages: readonly (Partial<Incoming> & Partial<Pick<Delivery, "count" | "place" | "lane">>)[]
  ): Delivery[] {
    const batch = messages.map(({ count = 1, place = null, lane = 0, ...message }) => ({
      token: ++this.#tag,
      lane,
      epoch: this.epoch,
      place,
      count,
      message: incoming({ topic: this.subscription.topic.name, ...message }),
    }));
    this.events.deliver(batch);
    return batch;
  }

  /** `"ack m1"`, `"release m2"`, in the order of settlement. */
  get settled(): string[] {
    return this.batches.flat().map(({ kind, delivery }) => `${kind} ${delivery.message.id ?? String(delivery.token)}`);
  }

  settle(batch: readonly Settlement[]): void {
    if (this.disposed) throw new Error("settled after dispose");
    this.batches.push(batch);
  }
  extend(): Promise<boolean> {
    return Promise.resolve(true);
  }
  pause(): void {}
  resume(): void {}
  async stop(): Promise<void> {
    this.stopped = true;
    await this.leaving;
  }
  async [Symbol.asyncDispose](): Promise<void> {
    this.disposed = true;
    await this.leaving;
  }
}

export class ScriptedTransport implements Transport {
  readonly name = "scripted";
  readonly traits: Traits;
  readonly halfMessages = null;
  readonly audit: null = null;
  readonly members = null;
  readonly receivers: ScriptedReceiver[] = [];
  readonly declared: (readonly TopicPlan[])[] = [];
  /** What the next tries end with, first come first served; null: it succeeds. */
  readonly outcomes: (TallyError | null)[] = [];
  /** Called with each new receiver before its session is handed out. */
  onOpen: (receiver: ScriptedReceiver) => void = () => {};

  constructor(traits: Partial<Traits> = {}) {
    this.traits = { ...TRAITS, ...traits };
  }

  readonly admin: Transport["admin"] = {
    declare: async (topics) => {
      this.declared.push(topics);
    },
    declareDelays: () => Promise.resolve(),
    backlog: () => Promise.resolve(0),
  };

  openSender(): Promise<never> {
    return Promise.reject(new TallyError("unsupported", "nothing is sent here"));
  }

  async openReceiver(subscription: Subscription, events: ReceiverEvents): Promise<Receiver> {
    const error = this.outcomes.shift() ?? null;
    if (error !== null) throw error;
    const receiver = new ScriptedReceiver(subscription, events, this.receivers.length + 1);
    this.receivers.push(receiver);
    this.onOpen(receiver);
    return receiver;
  }

  async [Symbol.asyncDispose](): Promise<void> {}
}

export interface Bench {
  readonly clock: VirtualClock;
  readonly transport: ScriptedTransport;
  readonly runtime: Runtime;
  readonly events: TallyEvent[];
  /** Consumers that `onStart` saw and `onEnd` did not. */
  readonly open: Set<Consumer>;
  of<T extends EventType>(type: T): Extract<TallyEvent, { readonly type: T }>[];
  consumer(options?: ConsumerOptions, group?: string): ConsumerBuilder;
  /** The receiver opened last. */
  readonly receiver: ScriptedReceiver;
}

/** Everything around a consumer, in virtual time. */
export function bench(traits: Partial<Traits> = {}, seed = 1): Bench {
  const clock = virtualClock();
  const transport = new ScriptedTransport(traits);
  const events: TallyEvent[] = [];
  const bus = createEvents(
    () => clock.wall(),
    (event) => void events.push(event),
  );
  const open = new Set<Consumer>();
  const ports: ConsumerPorts = {
    inbox: null,
    transacted: null,
    publish: () => Promise.reject(new TallyError("unsupported", "nothing is sent here")),
    members: null,
    audit: () => Promise.resolve(),
    memory: new MemoryBound(bus, null),
    runners: new Runners(),
  };
  const runtime: Runtime = {
    service: "shop",
    run: "0123456789abcdef0123456789abcdef",
    clock,
    random: seededRandom(seed),
    events: bus,
    transport,
    reconnect: { min: 100, max: 5_000 },
    connectWithin: 10_000,
  };
  return {
    clock,
    transport,
    runtime,
    events,
    open,
    of: <T extends EventType>(type: T) =>
      events.filter((e): e is Extract<TallyEvent, { readonly type: T }> => e.type === type),
    consumer: (options, group = "billing") =>
      createConsumerBuilder(
        runtime,
        ports,
        group,
        options,
        (c) => void open.add(c),
        (c) => void open.delete(c),
      ),
    get receiver() {
      const last = transport.receivers.at(-1);
      if (last === undefined) throw new Error("no receiver is open");
      return last;
    },
  };
}

/** Lets everything that waits for promises only go on. */
export async function settle(): Promise<void> {
  await new Promise((resolve) => setImmediate(resolve));
}

const encoder = new TextEncoder();
export const asJson = (body: unknown): Uint8Array => encoder.encode(JSON.stringify(body));

export function incoming(given: Partial<Incoming> = {}): Incoming {
  return {
    id: null,
    producer: "shop",
    run: null,
    seq: null,
    topic: "orders",
    key: null,
    type: null,
    contentType: "application/json",
    contentEncoding: null,
    time: null,
    attempt: 1,
    correlationId: null,
    causationId: null,
    headers: {},
    body: asJson({ id: given.id ?? null }),
    native: null,
    ...given,
  };
}
