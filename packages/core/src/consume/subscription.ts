import { TallyError } from "../error.ts";
import type { Runtime } from "../runtime.ts";
import { SessionKeeper } from "../session/keeper.ts";
import type { Delivery } from "../spi.ts";
import type { Topic } from "../topic.ts";
import { Job } from "./attempt.ts";
import type { Attempts } from "./attempts.ts";
import type { ConsumerPolicy, Handler } from "./options.ts";
import { ReceiverSession } from "./session.ts";

export interface SubscriptionOptions {
  readonly topic: Topic<never, unknown>;
  readonly handler: Handler<unknown>;
  readonly group: string;
  /** Name of the consumer in the broker's listings. */
  readonly consumer: string;
  readonly policy: ConsumerPolicy;
  readonly runtime: Runtime;
  readonly attempts: Attempts;
}

// What another try would not change, unless a person does something first.
const FINAL: ReadonlySet<string> = new Set(["topology", "unsupported", "unauthorized", "bad-config"]);

/** One topic of a consumer: keeps a receiver session open, and turns deliveries into jobs. */
export class TopicSubscription {
  readonly topic: Topic<never, unknown>;
  readonly handler: Handler<unknown>;
  readonly group: string;
  /** The heads of this topic's keys, for {@link Lanes}. */
  readonly keys: Map<string, Job> = new Map();
  /** Settles with the first try that succeeds, or with the first that another try would not change. */
  readonly ready: Promise<void>;
  readonly #o: SubscriptionOptions;
  readonly #what: string;
  readonly #first: PromiseWithResolvers<void> = Promise.withResolvers<void>();
  readonly #keeper: SessionKeeper<ReceiverSession>;
  #session: ReceiverSession | null = null;
  #stopped = false;
  #unidentified = false;

  constructor(options: SubscriptionOptions) {
    this.#o = options;
    this.topic = options.topic;
    this.handler = options.handler;
    this.group = options.group;
    this.#what = `${options.topic.name} / ${options.group}`;
    this.ready = this.#first.promise;
    this.ready.catch(() => {}); // who waits for it handles it; nobody may be waiting any more at a close
    const { runtime } = options;
    this.#keeper = new SessionKeeper({
      role: "receive",
      what: this.#what,
      clock: runtime.clock,
      random: runtime.random,
      events: runtime.events,
      backoff: runtime.reconnect,
      connectWithin: runtime.connectWithin,
      open: (_epoch, lost, signal) => this.#open(lost, signal),
      opened: (session) => {
        this.#session = session;
        this.#first.resolve();
        session.use();
      },
      dropped: () => {
        this.#session = null;
        this.forget();
      },
    });
  }

  /** Deliveries of a session in use, in the order of the wire. */
  deliver(session: ReceiverSession, batch: readonly Delivery[]): void {
    if (this.#stopped) return; // unsettled: they come again elsewhere
    const { attempts, policy } = this.#o;
    for (const delivery of batch) {
      const { message } = delivery;
      if (message.id === null && delivery.place === null && policy.id === null && !this.#unidentified) {
        this.#unidentified = true;
        this.#o.runtime.events.emit({ type: "unidentified", topic: this.topic.name, group: this.group });
      }
      if (this.topic.ordered && message.key !== null) {
        const why = session.away.arrived(message.key, message);
        if (why !== null) {
          attempts.failures.turnBack(new Job(session, delivery), why);
          continue;
        }
      }
      attempts.lanes.add(new Job(session, delivery));
    }
    attempts.lanes.pump();
  }

  /** Drops what waits and can no longer be settled. */
  forget(): void {
    this.#o.attempts.forget(this.keys);
  }

  revoking(session: ReceiverSession, epoch: number, lanes: readonly number[]): Promise<void> {
    return this.#o.attempts.drained(
      ({ session: of, delivery }) => of === session && delivery.epoch <= epoch && lanes.includes(delivery.lane),
    );
  }

  unsettled(deliveries: number, error: TallyError): void {
    this.#o.runtime.events.emit({ type: "unsettled", topic: this.topic.name, group: this.group, deliveries, error });
  }

  gap(lane: number, from: string, to: string): void {
    this.#o.runtime.events.emit({ type: "gap", topic: this.topic.name, group: this.group, lane, from, to });
  }

  surfaced(text: string): void {
    this.#o.runtime.events.emit({ type: "surfaced", what: this.#what, text });
  }

  /** No more deliveries are taken in; those out can be settled. Resolves when the receiver has stopped. */
  async stop(): Promise<void> {
    this.#stopped = true;
    this.#first.reject(new TallyError("closed", `${this.#what}: the consumer is closed`));
    await this.#session?.stop();
  }

  /** Flushes settlements and leaves. */
  async close(): Promise<void> {
    this.#stopped = true;
    this.#session?.flush();
    await this.#keeper.close();
    this.#session?.end();
    this.#session = null;
  }

  async #open(lost: (error: TallyError) => void, signal: AbortSignal): Promise<ReceiverSession> {
    const { runtime, group, policy, consumer } = this.#o;
    const { name, ordered, groups } = this.topic;
    const plan = { name, ordered, groups: groups.includes(group) ? groups : [...groups, group] };
    const session = new ReceiverSession(this, () => runtime.clock.now(), lost);
    try {
      await runtime.transport.admin.declare([plan], signal);
      session.opened(
        await runtime.transport.openReceiver(
          { topic: plan, group, credit: policy.credit, consumer },
          session.events,
          signal,
        ),
      );
      return session;
    } catch (error) {
      session.end();
      if (TallyError.is(error) && !error.retryable && FINAL.has(error.code)) this.#first.reject(error);
      throw error;
    }
  }
}
