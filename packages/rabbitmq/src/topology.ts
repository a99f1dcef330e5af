import type { Channel } from "amqplib";
import {
  bindDueExchange,
  bindDueQueue,
  declareLadder,
  entrance,
  LADDER,
  levels,
  toExchange,
  toQueue,
} from "./delays.ts";
import { DEAD_LETTERS, TallyError, type TopicPlan, utf8Length, type Verdict } from "@tallymq/core/spi";
import { classify } from "./errors.ts";
import { DEFAULT_TOPIC, type ResolvedOptions, type ResolvedTopic } from "./options.ts";

/** Where messages of a topic go, and what the broker's confirm says about them. */
export interface Route {
  readonly exchange: string;
  readonly routingKey: string;
  readonly accepted: Verdict;
  /** What a nack comes to there. */
  readonly nacked: Verdict;
}

/** Of a delayed copy: into the ladder, with what its header `tally-delay-to` says. */
export interface DelayedRoute extends Route {
  readonly to: string;
}

// A confirm says: routed to every queue that is bound, and safe there. That there is a durable queue among them is known
// only where Tally declared one; how many members of a quorum queue are up is not known at all.
const PERSISTED: Verdict = accepted("yes");
const ROUTED: Verdict = accepted("unverified");

function accepted(persisted: "yes" | "unverified"): Verdict {
  return Object.freeze({
    kind: "accepted",
    proof: Object.freeze({ routed: "yes", persisted, replicated: "unverified" }),
  });
}

// A nack means: not every queue has it. Through the default exchange there is one queue, and "not every" is "none". Behind
// any other exchange there may be several, also such as this process knows nothing of: one is full, another has the
// message, and it may take effect there.
const LATER: Verdict = nacked("the broker did not take the message: its queue is full or not available", false);
const PARTLY: Verdict = nacked(
  "the broker nacked the message: a queue of its exchange is full or not available, others may have it",
  true,
);

function nacked(text: string, mayArrive: boolean): Verdict {
  return Object.freeze({
    kind: "later",
    error: new TallyError("later", text, { retryable: true, mayArrive }),
    afterMs: 0,
  });
}

// Someone who looks through dead letters returns them again and again. The default limit of 20 would throw them away,
// and -1 (no limit) sends what is returned to the back of the queue.
const DEAD_DELIVERY_LIMIT = 1_000_000_000;

/**
 * How topics and groups are mapped, and what of it has been declared.
 *
 * | Tally | RabbitMQ |
 * |---|---|
 * | topic | durable exchange of its name, fanout |
 * | group | durable queue `<topic>.<group>`, bound to it |
 * | group `dead-letters` | the same, with no limit to speak of to its deliveries: whoever looks through it returns what it saw |
 * | what the broker gives up on | goes to the group's dead letters as well, at least once; of a queue that all groups share, to `<queue>.dead` |
 * | ordered | single active consumer |
 * | delays | see delays.ts |
 */
export class Topology {
  readonly #options: ResolvedOptions;
  readonly #routes: Map<string, Route> = new Map();
  readonly #exchanges: Set<string> = new Set();
  readonly #queues: Map<string, Set<string>> = new Map();
  /** Steps of the ladder that are declared, and what its end leads to. */
  #levels = 0;
  readonly #due: Set<string> = new Set();

  constructor(options: ResolvedOptions) {
    this.#options = options;
  }

  /**
   * Of a topic that was declared; null before: a publish to an exchange that is not there ends the channel for all.
   * @param group The one group that the copy is for: its queue by name, through the default exchange; null: all.
   */
  route(topic: string, group: string | null = null): Route | null {
    const route = this.#routes.get(topic) ?? null;
    if (group === null || route === null) return route;
    const { accepted } = route;
    return { exchange: "", routingKey: this.queueOf(topic, group), accepted, nacked: LATER };
  }

  /**
   * Of a copy that is delayed.
   * @returns an error: `topology` where the delay was not declared, `unsupported`
   */
  delayed(topic: string, group: string | null, delayMs: number): DelayedRoute | TallyError {
    const at = this.#at(topic);
    // What it has in the ladder for a routing key would mean nothing, or something else, to any other exchange.
    if (group === null && at.queue === null && at.exchangeType !== "fanout")
      return new TallyError(
        "unsupported",
        `topic ${JSON.stringify(topic)} cannot delay messages for all groups: its exchange is of type ${at.exchangeType}, and only a fanout can be reached after a delay`,
      );
    const to =
      group === null && at.queue === null
        ? toExchange(this.#exchangeOf(topic))
        : toQueue(this.queueOf(topic, group ?? ""));
    if (levels(delayMs) > this.#levels || !this.#due.has(to))
      return new TallyError(
        "topology",
        `delays of ${delayMs} ms have not been declared for topic ${JSON.stringify(topic)}`,
      );
    // One queue takes it, the first step's.
    return { ...entrance(delayMs), to, accepted: PERSISTED, nacked: LATER };
  }

  /** Declares on this channel, which an error ends. @throws TallyError */
  async declareDelays(channel: Channel, plan: TopicPlan, upToMs: number): Promise<void> {
    const at = this.#at(plan.name);
    if (!at.declare)
      throw new TallyError(
        "unsupported",
        `topic ${JSON.stringify(plan.name)} cannot have delayed messages: it is declared by somebody else, and its queues would need a binding more`,
      );
    const count = levels(upToMs);
    await during("the queues for delays", declareLadder(channel, count));
    const queues = at.queue === null ? plan.groups.map((group) => this.queueOf(plan.name, group)) : [at.queue];
    for (const queue of queues) {
      await during(`queue ${JSON.stringify(queue)} for what was delayed`, bindDueQueue(channel, queue));
      this.#due.add(toQueue(queue));
    }
    if (at.queue === null && at.exchangeType === "fanout") {
      const exchange = this.#exchangeOf(plan.name);
      await during(`exchange ${JSON.stringify(exchange)} for what was delayed`, bindDueExchange(channel, exchange));
      this.#due.add(toExchange(exchange));
    }
    this.#levels = Math.max(this.#levels, count);
  }

  /** Whether messages may be sent there: the default exchange, or that of a declared topic. */
  knows(exchange: string): boolean {
    return exchange === "" || this.#exchanges.has(exchange);
  }

  /** @throws TallyError `bad-config` when it is longer than AMQP allows */
  queueOf(topic: string, group: string): string {
    const at = this.#at(topic);
    const name = at.queue ?? at.queues.get(group) ?? `${topic}.${group}`;
    if (utf8Length(name) > 250)
      throw new TallyError(
        "bad-config",
        `the queue of group ${JSON.stringify(group)} would have a name of more than 250 bytes; give it another one in rabbitmq({ topics: { …: { queues } } })`,
      );
    return name;
  }

  /** Declares on this channel, which an error ends. @throws TallyError */
  async declare(channel: Channel, plan: TopicPlan, groups: readonly string[]): Promise<void> {
    const at = this.#at(plan.name);
    if (plan.name.startsWith(LADDER))
      throw new TallyError(
        "bad-config",
        `a topic cannot be named ${JSON.stringify(plan.name)}: so the queues of delays are`,
      );
    const exchange = at.queue !== null ? "" : this.#exchangeOf(plan.name);
    if (exchange !== "") await this.#exchange(channel, exchange, at);
    if (at.queue !== null)
      await this.#queue(
        channel,
        at.queue,
        plan,
        at,
        plan.groups.every((g) => g === DEAD_LETTERS) ? DEAD_LETTERS : null,
      );
    else {
      for (const group of groups) {
        const queue = this.queueOf(plan.name, group);
        await this.#queue(channel, queue, plan, at, group);
        if (at.declare)
          await during(`binding of queue ${JSON.stringify(queue)}`, channel.bindQueue(queue, exchange, bindingKey(at)));
      }
    }
    this.#know(plan.name, exchange, at, groups);
  }

  #know(topic: string, exchange: string, at: ResolvedTopic, groups: readonly string[]): void {
    const queues = this.#queues.get(topic) ?? new Set();
    for (const group of groups) queues.add(this.queueOf(topic, group));
    this.#queues.set(topic, queues);
    this.#exchanges.add(exchange);
    const durable = at.declare && (at.queue !== null || queues.size > 0);
    this.#routes.set(topic, {
      exchange,
      routingKey: at.queue ?? at.routingKey,
      accepted: durable ? PERSISTED : ROUTED,
      nacked: at.queue !== null ? LATER : PARTLY,
    });
  }

  async #exchange(channel: Channel, name: string, at: ResolvedTopic): Promise<void> {
    const what = `exchange ${JSON.stringify(name)}`;
    if (at.declare) await during(what, channel.assertExchange(name, at.exchangeType, { durable: true }));
    else await during(what, channel.checkExchange(name));
  }

  async #queue(
    channel: Channel,
    name: string,
    plan: TopicPlan,
    at: ResolvedTopic,
    group: string | null,
  ): Promise<void> {
    const what = `queue ${JSON.stringify(name)}`;
    if (!at.declare) {
      await during(what, channel.checkQueue(name));
      return;
    }
    const quorum = this.#options.queueType === "quorum";
    const args: Record<string, string | number | boolean> = { "x-queue-type": this.#options.queueType };
    if (plan.ordered) args["x-single-active-consumer"] = true;
    if (quorum && group === DEAD_LETTERS) args["x-delivery-limit"] = DEAD_DELIVERY_LIMIT;
    else if (quorum) {
      // First the target: at-least-once dead-lettering to a queue that is not there retries every three minutes only.
      const dead = await this.#deadQueue(channel, name, plan, group);
      args["x-delivery-limit"] = this.#options.deliveryLimit;
      args["x-dead-letter-exchange"] = "";
      args["x-dead-letter-routing-key"] = dead;
      args["x-dead-letter-strategy"] = "at-least-once";
      // The strategy needs it; without it the broker accepts the declaration and falls back to at-most-once silently.
      args["x-overflow"] = "reject-publish";
    }
    await during(what, channel.assertQueue(name, { durable: true, arguments: args }));
  }

  /** Where the broker puts what it gives up on: beside what consumers give up, so that one look finds both. */
  async #deadQueue(channel: Channel, queue: string, plan: TopicPlan, group: string | null): Promise<string> {
    const topic = group === null ? null : `${plan.name}.${group}.${DEAD_LETTERS}`;
    const name = topic === null ? `${queue}.dead` : this.queueOf(topic, DEAD_LETTERS);
    const at = topic === null ? DEFAULT_TOPIC : this.#at(topic);
    const letters = { name: topic ?? queue, ordered: false, groups: [DEAD_LETTERS] };
    await this.#queue(channel, name, letters, at, DEAD_LETTERS);
    return name;
  }

  #exchangeOf(topic: string): string {
    return this.#at(topic).exchange ?? topic;
  }

  #at(topic: string): ResolvedTopic {
    return this.#options.topics.get(topic) ?? DEFAULT_TOPIC;
  }
}

function bindingKey(at: ResolvedTopic): string {
  return at.bindingKey ?? (at.exchangeType === "topic" ? "#" : at.routingKey);
}

async function during<T>(what: string, work: Promise<T>): Promise<T> {
  try {
    return await work;
  } catch (thrown) {
    throw classify(thrown, what, "declaring");
  }
}
