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
import { DEAD_LETTERS, TallyError, type TopicPlan, type Verdict } from "@tallymq/core/spi";
import type { RabbitChannel } from "./channel.ts";
import type { RabbitNative } from "./native.ts";
import type { ResolvedOptions } from "./options.ts";
import { type DeadPlan, type ExchangePlan, Mapping, type QueuePlan } from "./plan.ts";
import { bind, during, makeExchange, makeQueue, type On } from "./making.ts";
import { type Work, worksOf } from "./topics.ts";

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

/** Who declares: a program that publishes to all groups of a topic, or a consumer of one of them. */
export type Declarer = "publisher" | "consumer";

/** What of the plan (plan.ts) has been declared, or seen to be there; and the ways to it. */
export class Topology {
  readonly #mapping: Mapping;
  readonly #routes: Map<string, Route> = new Map();
  readonly #exchanges: Set<string> = new Set();
  /** By topic, queues that are known to be durable. */
  readonly #durable: Map<string, Set<string>> = new Map();
  /** Steps of the ladder that are declared, and what its end leads to. */
  #levels = 0;
  readonly #due: Set<string> = new Set();

  constructor(options: ResolvedOptions) {
    this.#mapping = new Mapping(options);
  }

  /**
   * Of a topic that was declared; null before: a publish to an exchange that is not there ends the channel for all.
   * @param group The one group that the copy is for: its queue by name, through the default exchange; null: all.
   */
  route(topic: string, group: string | null = null): Route | null {
    const route = this.#routes.get(topic) ?? null;
    if (group === null || route === null) return route;
    const { accepted } = route;
    return { exchange: "", routingKey: this.#mapping.queueOf(topic, group), accepted, nacked: LATER };
  }

  /**
   * Of a message with raw properties, of a topic that was declared. Elsewhere than its topic's messages go, which queues take
   * it is for nobody here to know: nor whether any of them is on a disk, nor whether a nack was that of all.
   */
  routeOf(topic: string, { exchange, routingKey }: RabbitNative): Route {
    const route = this.#routes.get(topic)!;
    const to = { exchange: exchange ?? route.exchange, routingKey: routingKey ?? route.routingKey };
    // A fanout looks at no key.
    const same =
      to.exchange === route.exchange &&
      (to.routingKey === route.routingKey || (to.exchange !== "" && this.#mapping.at(topic).exchangeType === "fanout"));
    const { accepted, nacked } = same ? route : { accepted: ROUTED, nacked: to.exchange === "" ? LATER : PARTLY };
    return { ...to, accepted, nacked };
  }

  /**
   * Of a copy that is delayed.
   * @returns an error: `topology` where the delay was not declared, `unsupported`
   */
  delayed(topic: string, group: string | null, delayMs: number): DelayedRoute | TallyError {
    const at = this.#mapping.at(topic);
    // What it has in the ladder for a routing key would mean nothing, or something else, to any other exchange.
    if (group === null && at.queue === null && at.exchangeType !== "fanout")
      return new TallyError(
        "unsupported",
        `topic ${JSON.stringify(topic)} cannot delay messages for all groups: its exchange is of type ${at.exchangeType}, and only a fanout can be reached after a delay`,
      );
    const to =
      group === null && at.queue === null
        ? toExchange(this.#exchangeOf(topic))
        : toQueue(this.#mapping.queueOf(topic, group ?? ""));
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
    const at = this.#mapping.at(plan.name);
    // They need bindings of its queues, and of its exchange.
    const works = worksOf(at);
    if (works.own !== "make")
      throw new TallyError(
        "unsupported",
        `topic ${JSON.stringify(plan.name)} cannot have delayed messages: its queues are somebody else's to make, and would need a binding more`,
      );
    const count = levels(upToMs);
    await during("the queues for delays", declareLadder(channel, count));
    const queues = at.queue === null ? plan.groups.map((group) => this.queueOf(plan.name, group)) : [at.queue];
    const ours = this.#durable.get(plan.name);
    for (const queue of queues) {
      if (works.groups !== "make" && ours?.has(queue) !== true) continue;
      await during(`queue ${JSON.stringify(queue)} for what was delayed`, bindDueQueue(channel, queue));
      this.#due.add(toQueue(queue));
    }
    if (works.exchange === "make" && at.queue === null && at.exchangeType === "fanout") {
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
    return this.#mapping.queueOf(topic, group);
  }

  /**
   * Declares on this channel, which an error ends, what is this program's to make, and looks at the rest.
   * @param groups Of the topic: all of them, or the one that consumes.
   * @throws TallyError `topology` and what is missing or differs; `unsupported`
   */
  async declare(
    channel: RabbitChannel,
    plan: TopicPlan,
    groups: readonly string[],
    by: Declarer,
    signal: AbortSignal,
  ): Promise<void> {
    if (plan.name.startsWith(LADDER))
      throw new TallyError(
        "bad-config",
        `a topic cannot be named ${JSON.stringify(plan.name)}: so the queues of delays are`,
      );
    const at = this.#mapping.at(plan.name);
    const works = worksOf(at);
    const work = by === "publisher" ? works.groups : works.own;
    const on: On = { channel: channel.raw, open: () => channel.connection.channel(signal) };
    const exchange = this.#mapping.exchange(plan.name);
    if (exchange !== null) await makeExchange(on, exchange, works.exchange);
    const durable: string[] = [];
    if (exchange === null) {
      const letters = plan.groups.every((group) => group === DEAD_LETTERS);
      const queue = this.#mapping.queue(plan, letters ? DEAD_LETTERS : null);
      if (await this.#queue(on, queue, work)) durable.push(queue.name);
    } else {
      for (const group of groups) {
        const queue = this.#mapping.queue(plan, group);
        if (await this.#queue(on, queue, work)) durable.push(queue.name);
        if (works.bindings === "make" && (work === "make" || by === "consumer"))
          await bind(channel.raw, queue.name, exchange.name, this.#mapping.bindings(plan.name, group));
      }
    }
    this.#know(plan.name, exchange, durable);
  }

  #know(topic: string, exchange: ExchangePlan | null, durable: readonly string[]): void {
    const at = this.#mapping.at(topic);
    const queues = this.#durable.get(topic) ?? new Set();
    for (const queue of durable) queues.add(queue);
    this.#durable.set(topic, queues);
    this.#exchanges.add(exchange?.name ?? "");
    this.#routes.set(topic, {
      exchange: exchange?.name ?? "",
      routingKey: at.queue ?? at.routingKey,
      accepted: queues.size > 0 ? PERSISTED : ROUTED,
      nacked: at.queue !== null ? LATER : PARTLY,
    });
  }

  /** Whether it is known to be as planned, durable for one. */
  async #queue(on: On, plan: QueuePlan, work: Work): Promise<boolean> {
    // First the target: at-least-once dead-lettering to a queue that is not there retries every three minutes only.
    if (plan.dead !== null && (work === "make" || work === "compare")) await this.#dead(on, plan.dead, work);
    return await makeQueue(on, plan, work);
  }

  /** The topic of dead letters may be somebody else's, where that of the letters is not. */
  async #dead(on: On, { queue, at }: DeadPlan, work: Work): Promise<void> {
    const own = worksOf(at).own;
    await this.#queue(on, queue, work === "compare" && own === "make" ? "compare" : own);
  }

  #exchangeOf(topic: string): string {
    return this.#mapping.exchange(topic)?.name ?? topic;
  }
}
