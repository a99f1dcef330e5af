import { type AdminPort, TallyError, type TopicPlan, raced } from "@tallymq/core/spi";
import type { RabbitChannel } from "./channel.ts";
import type { RabbitConnection } from "./connection.ts";
import { classify } from "./errors.ts";
import type { SharedConnection } from "./shared.ts";
import type { Topology } from "./topology.ts";

/** Declares and counts, each call on a channel of its own: whatever the broker refuses ends the channel. */
export class RabbitAdmin implements AdminPort {
  readonly #topology: Topology;
  readonly #publishing: SharedConnection;
  readonly #consuming: SharedConnection;
  /** Unsettled deliveries of this process, by queue. */
  readonly #unsettled: (queue: string) => number;

  constructor(
    topology: Topology,
    publishing: SharedConnection,
    consuming: SharedConnection,
    unsettled: (queue: string) => number,
  ) {
    this.#topology = topology;
    this.#publishing = publishing;
    this.#consuming = consuming;
    this.#unsettled = unsettled;
  }

  async declare(topics: readonly TopicPlan[], signal: AbortSignal): Promise<void> {
    await this.#on(signal, async (channel) => {
      for (const plan of topics) await this.#topology.declare(channel, plan, plan.groups, "publisher", signal);
    });
  }

  async declareDelays(plan: TopicPlan, upToMs: number, signal: AbortSignal): Promise<void> {
    await this.#on(signal, (channel) => this.#topology.declareDelays(channel.raw, plan, upToMs));
  }

  /**
   * Ready messages, and those out at consumers of this process. AMQP has no way to ask for deliveries that are out at
   * other processes; the broker's management API has.
   */
  async backlog(topic: string, group: string, signal: AbortSignal): Promise<number> {
    const queue = this.#topology.queueOf(topic, group);
    return await this.#on(signal, async (channel) => {
      try {
        return (await channel.raw.checkQueue(queue)).messageCount + this.#unsettled(queue);
      } catch (thrown) {
        throw classify(thrown, `queue ${JSON.stringify(queue)}`, "declaring");
      }
    });
  }

  async #on<T>(signal: AbortSignal, work: (channel: RabbitChannel) => Promise<T>): Promise<T> {
    const connection = await this.connection(signal);
    const channel = await connection.channel(signal);
    try {
      return await raced(work(channel), signal);
    } catch (thrown) {
      // A connection that broke says nothing about the topology.
      if (connection.over && !(TallyError.is(thrown) && thrown.code === "unauthorized"))
        throw classify(connection.reason ?? thrown, connection.where, "opening");
      throw thrown;
    } finally {
      void channel.close();
    }
  }

  /** Any that is open and that the broker reads from; a declaration needs no connection of its own. */
  async connection(signal: AbortSignal): Promise<RabbitConnection> {
    for (const shared of [this.#publishing, this.#consuming]) {
      if (shared.open !== null && shared.open.blocked === null) return shared.open;
    }
    return await (this.#publishing.open === null ? this.#publishing : this.#consuming).get(signal);
  }
}
