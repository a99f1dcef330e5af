import { DEAD_LETTERS, TallyError, type TopicPlan, utf8Length } from "@tallymq/core/spi";
import type { ResolvedOptions } from "./options.ts";
import type { Arguments, ExchangeType, ResolvedBinding, ResolvedTopic } from "./topics.ts";

// Someone who looks through dead letters returns them again and again. The default limit of 20 would throw them away,
// and -1 (no limit) sends what is returned to the back of the queue.
const DEAD_DELIVERY_LIMIT = 1_000_000_000;

/** A durable exchange as Tally would make it. */
export interface ExchangePlan {
  readonly name: string;
  readonly type: ExchangeType;
  readonly arguments: Arguments;
}

/** A durable queue as Tally would make it. */
export interface QueuePlan {
  readonly name: string;
  readonly arguments: Arguments;
  /** Where the broker puts what it gives up on; made first. Null: the queue has no delivery limit to speak of. */
  readonly dead: DeadPlan | null;
}

/** A queue of dead letters, and how its topic is declared. */
export interface DeadPlan {
  readonly queue: QueuePlan;
  readonly at: ResolvedTopic;
}

/**
 * How topics and groups are mapped: pure, from options alone.
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
export class Mapping {
  readonly #options: ResolvedOptions;

  constructor(options: ResolvedOptions) {
    this.#options = options;
  }

  at(topic: string): ResolvedTopic {
    return this.#options.topics.get(topic) ?? this.#options.elsewhere;
  }

  /** Null: the topic is one queue, behind the default exchange. */
  exchange(topic: string): ExchangePlan | null {
    const at = this.at(topic);
    if (at.queue !== null) return null;
    return { name: at.exchange ?? topic, type: at.exchangeType, arguments: at.exchangeArguments };
  }

  /** @throws TallyError `bad-config` when it is longer than AMQP allows */
  queueOf(topic: string, group: string): string {
    const at = this.at(topic);
    const name = at.queue ?? at.queues.get(group) ?? `${topic}.${group}`;
    if (utf8Length(name) > 250)
      throw new TallyError(
        "bad-config",
        `the queue of group ${JSON.stringify(group)} would have a name of more than 250 bytes; give it another one in rabbitmq({ topics: { …: { queues } } })`,
      );
    return name;
  }

  /** @param group Null: the queue that all groups share, which is no queue of dead letters. */
  queue(plan: TopicPlan, group: string | null): QueuePlan {
    const at = this.at(plan.name);
    return this.#queue(at.queue ?? this.queueOf(plan.name, group ?? ""), plan, at, group);
  }

  /** None for the queue that all groups share. */
  bindings(topic: string, group: string): readonly ResolvedBinding[] {
    const at = this.at(topic);
    if (at.queue !== null) return [];
    return at.bindings.get(group) ?? [{ routingKey: bindingKey(at), arguments: {} }];
  }

  #queue(name: string, plan: TopicPlan, at: ResolvedTopic, group: string | null): QueuePlan {
    const type = at.queueArguments["x-queue-type"] ?? this.#options.queueType;
    const args: Record<string, string | number | boolean> = { "x-queue-type": type };
    if (plan.ordered) args["x-single-active-consumer"] = true;
    if (type !== "quorum") return { name, arguments: { ...args, ...at.queueArguments }, dead: null };
    if (group === DEAD_LETTERS) {
      args["x-delivery-limit"] = DEAD_DELIVERY_LIMIT;
      return { name, arguments: { ...args, ...at.queueArguments }, dead: null };
    }
    const dead = this.#dead(name, plan, group);
    args["x-delivery-limit"] = this.#options.deliveryLimit;
    args["x-dead-letter-exchange"] = "";
    args["x-dead-letter-routing-key"] = dead.queue.name;
    args["x-dead-letter-strategy"] = "at-least-once";
    // The strategy needs it; without it the broker accepts the declaration and falls back to at-most-once silently.
    args["x-overflow"] = "reject-publish";
    const all = { ...args, ...at.queueArguments };
    return { name, arguments: all, dead: all["x-dead-letter-routing-key"] === dead.queue.name ? dead : null };
  }

  /** Where the broker puts what it gives up on: beside what consumers give up, so that one look finds both. */
  #dead(queue: string, plan: TopicPlan, group: string | null): DeadPlan {
    const topic = group === null ? null : `${plan.name}.${group}.${DEAD_LETTERS}`;
    const name = topic === null ? `${queue}.dead` : this.queueOf(topic, DEAD_LETTERS);
    const at = topic === null ? this.#options.elsewhere : this.at(topic);
    const letters = { name: topic ?? queue, ordered: false, groups: [DEAD_LETTERS] };
    return { queue: this.#queue(name, letters, at, DEAD_LETTERS), at };
  }
}

function bindingKey(at: ResolvedTopic): string {
  if (at.bindingKey !== null) return at.bindingKey;
  if (at.exchangeType === "topic") return "#";
  // There it is a weight, not a key.
  return at.exchangeType === "x-consistent-hash" ? "1" : at.routingKey;
}
