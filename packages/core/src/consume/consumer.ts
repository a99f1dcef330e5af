import { atMost, leave } from "../clock.ts";
import type { AuditSubject } from "../port/audit.ts";
import { deadLetterTopic } from "../dead-letters/letter.ts";
import { TallyError } from "../error.ts";
import type { SubscriptionStatus } from "../health/health.ts";
import { inflatedMost } from "../compress/options.ts";
import { creditFor, largestOf } from "../memory.ts";
import type { Runners } from "../park/runners.ts";
import { type Bounds, duration, resolveOptions, text } from "../policy.ts";
import type { Runtime } from "../runtime.ts";
import { isTopic, type Topic } from "../topic.ts";
import { Attempts } from "./attempts.ts";
import {
  type Consumer,
  type ConsumerBuilder,
  type ConsumerOptions,
  type ConsumerPolicy,
  type Handler,
  resolveConsumer,
  type TxConsumerOptions,
} from "./options.ts";
import type { Members } from "./members.ts";
import type { ConsumerPorts } from "./ports.ts";
import { assertRemembered } from "./remembers.ts";
import { TopicSubscription } from "./subscription.ts";

const CLOSE_BOUNDS: Bounds<{ readonly within: number }> = { within: duration("30s", 0) };

/** A consumer, as the tally sees it. */
export interface WatchedConsumer extends Consumer {
  status(): readonly SubscriptionStatus[];
  subjects(): readonly AuditSubject[];
}

/**
 * @param onStart Called before the first session is opened; what it throws is what `start()` rejects with.
 * @param onEnd Called once: the consumer has closed, or could not start.
 * @throws TallyError `bad-config`
 */
export function createConsumerBuilder(
  runtime: Runtime,
  ports: ConsumerPorts,
  group: string,
  options: ConsumerOptions | TxConsumerOptions | undefined,
  onStart: (consumer: WatchedConsumer) => void,
  onEnd: (consumer: WatchedConsumer) => void,
): ConsumerBuilder {
  text("", 120).read("consumer: group", group);
  const where = `consumer ${JSON.stringify(group)}`;
  const policy = resolveConsumer(where, options, ports.inbox !== null);
  const handlers = new Map<string, { readonly topic: Topic<never, unknown>; readonly handler: Handler<unknown> }>();
  let started = false;
  return {
    on(topic, handler) {
      if (started) throw new TallyError("bad-config", `${where}: on() must come before start()`);
      if (!isTopic(topic)) throw new TallyError("bad-config", `${where}: on() needs a topic, made by topic()`);
      if (typeof handler !== "function")
        throw new TallyError("bad-config", `${where}: on() needs a handler, a function of body and context`);
      if (handlers.has(topic.name))
        throw new TallyError("bad-config", `${where}: topic ${JSON.stringify(topic.name)} has a handler already`);
      if (policy.effect !== "none") assertRemembered(where, topic, policy, ports.inbox!);
      handlers.set(topic.name, { topic, handler: handler as Handler<unknown> });
      return this;
    },
    async start() {
      if (started) throw new TallyError("bad-config", `${where} was started before`);
      if (handlers.size === 0)
        throw new TallyError("bad-config", `${where} has no handler: call on(topic, handler) before start()`);
      if (policy.effect === "tx" && ports.inbox?.transactions === null)
        throw new TallyError(
          "unsupported",
          `${where}: effect "tx" needs an inbox with transactions; this one has none`,
        );
      if (policy.effect !== "none" || runtime.transport.traits.longestDelay > 0)
        for (const { topic } of handlers.values()) deadLetterTopic(topic.name, group);
      started = true;
      const release = ports.memory.add(
        where,
        [...handlers.values()].flatMap(({ topic }) => {
          const largest = largestOf(topic, runtime.transport.traits);
          const credit = policy.credit ?? creditFor(policy.lanes, largest);
          const held = { what: `${topic.name} / ${group}: ${credit} × ${largest} bytes =`, bytes: credit * largest };
          const { aheadBytes } = runtime.transport.traits;
          const ahead = { what: `${topic.name} / ${group}, fetched ahead`, bytes: aheadBytes };
          const parts = aheadBytes === 0 ? [held] : [held, ahead];
          if (topic.compress === null && topic.maxInflatedBytes === null) return parts;
          const most = inflatedMost(topic);
          const what = `${topic.name} / ${group}, inflated: ${policy.lanes} × ${most} bytes =`;
          return [...parts, { what, bytes: policy.lanes * most }];
        }),
      );
      const consumer = new RunningConsumer(runtime, ports, group, policy, (ended) => {
        release();
        onEnd(ended);
      });
      try {
        onStart(consumer);
      } catch (thrown) {
        release();
        throw thrown;
      }
      await consumer.open([...handlers.values()]);
      return consumer;
    },
  };
}

/**
 * A consumer's life: `open` once, then deliveries flow until `close`.
 *
 * Closing: receivers stop; nothing new starts, running handlers finish (and may publish) and are settled; receivers flush
 * and leave, and what is unsettled goes back to the broker. At the limit the signals of running handlers fire, and their
 * deliveries are left unsettled: they come again, here or elsewhere.
 */
class RunningConsumer implements WatchedConsumer {
  readonly group: string;
  readonly #runtime: Runtime;
  readonly #policy: ConsumerPolicy;
  readonly #attempts: Attempts;
  readonly #onEnd: (consumer: WatchedConsumer) => void;
  readonly #runners: Runners;
  readonly #audit: ConsumerPorts["audit"];
  readonly #remembersMs: number | null;
  /** Null where it uses no inbox as well. */
  readonly #members: Members | null;
  #subscriptions: readonly TopicSubscription[] = [];
  #registered: readonly (() => void)[] = [];
  #closed: Promise<void> | null = null;

  constructor(
    runtime: Runtime,
    ports: ConsumerPorts,
    group: string,
    policy: ConsumerPolicy,
    onEnd: (consumer: WatchedConsumer) => void,
  ) {
    this.group = group;
    this.#runtime = runtime;
    this.#policy = policy;
    this.#attempts = new Attempts(group, policy, runtime, ports);
    this.#runners = ports.runners;
    this.#audit = ports.audit;
    this.#remembersMs = policy.effect === "none" ? null : (ports.inbox?.keepsMs ?? null);
    this.#members = policy.effect === "none" ? null : ports.members;
    this.#onEnd = onEnd;
  }

  async open(
    topics: readonly { readonly topic: Topic<never, unknown>; readonly handler: Handler<unknown> }[],
  ): Promise<void> {
    if (this.#closed !== null)
      throw new TallyError("closed", `consumer ${JSON.stringify(this.group)} was closed while it started`);
    const { service, run, random } = this.#runtime;
    const suffix = Array.from(random.bytes(3), (byte) => byte.toString(16).padStart(2, "0")).join("");
    const inbox = this.#members === null ? "" : `-inbox-${this.#members.shortId}`;
    const consumer = `${service}-${run.slice(0, 8)}-${suffix}${inbox}`;
    const common = {
      group: this.group,
      consumer,
      members: this.#members,
      policy: this.#policy,
      runtime: this.#runtime,
      attempts: this.#attempts,
      audit: this.#audit,
      remembersMs: this.#remembersMs,
    };
    this.#subscriptions = topics.map((one) => new TopicSubscription({ ...one, ...common }));
    // Without a claim a parked message must not run.
    const replaying = this.#policy.effect === "none" ? [] : this.#subscriptions;
    this.#registered = replaying.map((subscription) =>
      this.#runners.add({
        group: this.group,
        topic: subscription.topic.name,
        run: (message) => this.#attempts.replay(subscription, message),
      }),
    );
    try {
      await Promise.all(this.#subscriptions.map(({ ready }) => ready));
    } catch (error) {
      // A close that came first ends in its own way, and is why `ready` rejected.
      await (this.#closed ??= this.#end(1));
      throw error;
    }
  }

  status(): readonly SubscriptionStatus[] {
    return this.#subscriptions.map((subscription) => subscription.status());
  }

  subjects(): readonly AuditSubject[] {
    return this.#subscriptions.map(({ subject }) => subject);
  }

  pause(): void {
    this.#attempts.lanes.pause();
  }

  resume(): void {
    if (this.#closed !== null) return;
    this.#attempts.lanes.resume();
    for (const subscription of this.#subscriptions) void subscription.resume();
  }

  close(options: Parameters<Consumer["close"]>[0] = {}): Promise<void> {
    if (this.#closed !== null) return this.#closed;
    try {
      return (this.#closed = this.#end(resolveOptions("close", options, CLOSE_BOUNDS).within));
    } catch (error) {
      return Promise.reject(error as TallyError);
    }
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  async #end(within: number): Promise<void> {
    const { clock, events } = this.#runtime;
    const until = clock.now() + within;
    for (const remove of this.#registered) remove();
    const stopped = this.#subscriptions.map((s) => s.stop());
    this.#attempts.stop(this.#subscriptions);
    await atMost(clock, within, Promise.all([Promise.allSettled(stopped), this.#attempts.idle()]));
    const abandoned = this.#attempts.abort(
      new TallyError("closed", `consumer ${JSON.stringify(this.group)} closes: its time is up`),
    );
    await leave(clock, until, Promise.allSettled(this.#subscriptions.map((s) => s.close())));
    events.emit({ type: "consumer-closed", group: this.group, abandoned });
    this.#onEnd(this);
  }
}
