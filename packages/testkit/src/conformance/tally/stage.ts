import {
  type Broker,
  type Consumer,
  type ConsumerOptions,
  type Context,
  openTally,
  type Tally,
  type TallyEvent,
  type TallyOptions,
  type Topic,
  topic,
  type TopicOptions,
} from "@tallymq/core";
import type { ConformanceCase, Need, Rig } from "../case.ts";
import { testHost } from "../host.ts";
import { staged } from "../staged.ts";
import { eventually, pause, Watch, within } from "../wait.ts";
import { observed, type Wire } from "./observed.ts";

/** A case at the level of the user: core's policy over this transport. */
export function tallyCase(
  name: string,
  needs: readonly Need[],
  body: (stage: TallyStage) => Promise<void>,
): ConformanceCase {
  return staged(name, needs, (rig) => new TallyStage(rig), body);
}

/** Where a case plays: what is opened here is closed at the end. */
export class TallyStage {
  readonly rig: Rig;
  readonly watch: Watch;
  readonly #open: Tally[] = [];
  readonly #consumers: { readonly topic: string; readonly consumer: Consumer }[] = [];

  constructor(rig: Rig) {
    this.rig = rig;
    this.watch = new Watch(rig.limitMs);
  }

  /** A tally that reconnects and resends quickly: cases wait for it. */
  async tally(given: Partial<TallyOptions> = {}): Promise<ObservedTally> {
    const wire: Wire = { open: 0, peak: 0, copies: new Map() };
    const events: TallyEvent[] = [];
    const tally = await within(
      this.rig.limitMs,
      "a tally to open",
      openTally({
        service: "conformance",
        broker: observed(this.rig.broker(), wire),
        reconnect: { min: "10ms", max: "500ms" },
        connectWithin: Math.max(100, this.rig.limitMs),
        ...given,
        publish: {
          resendMin: "5ms",
          resendMax: "500ms",
          deadline: Math.max(1, 3 * this.rig.limitMs),
          ...given.publish,
        },
        onEvent: (event) => {
          events.push(event);
          this.watch.changed();
        },
      }),
    );
    this.#open.push(tally);
    return { tally, wire, events };
  }

  /** A topic with one group `g`, if not told otherwise. */
  topic<In = unknown>(stem: string, given: TopicOptions<In> = {}): Topic<In> {
    return topic<In>(this.rig.topic(stem), { groups: ["g"], ...given });
  }

  /** A consumer of group `g` that notes each effect, after `before` if given. */
  async consumer<Out>(
    tally: Tally,
    of: Topic<never, Out>,
    given: ConsumerOptions & {
      readonly group?: string;
      readonly before?: (body: Out, context: Context) => Promise<void> | void;
    } = {},
  ): Promise<Effects<Out>> {
    const { group = "g", before, ...options } = given;
    const seen: Effect<Out>[] = [];
    const handler = async (body: Out, context: Context): Promise<void> => {
      await before?.(body, context);
      seen.push({ id: context.id, body, context });
      this.watch.changed();
    };
    const starting = tally
      .consumer(group, { retryMin: 1, retryMax: "100ms", ...options })
      .on(of, handler)
      .start();
    const consumer = await within(this.rig.limitMs, "a consumer to start", starting);
    this.#consumers.push({ topic: of.name, consumer });
    return { seen, consumer, has: (ids) => this.#has(seen, ids) };
  }

  /**
   * Everything in the group is settled: its consumers have left, and there is nothing that comes again. (While they are
   * there, some brokers can only count what waits.)
   */
  async allSettled(of: Topic<never, unknown>, group = "g"): Promise<void> {
    for (const { consumer } of this.#consumers.filter((c) => c.topic === of.name && c.consumer.group === group)) {
      await within(this.rig.limitMs, "a consumer to close", consumer.close());
    }
    const transport = this.broker.open(testHost());
    try {
      const ask = (): Promise<number> => transport.admin.backlog(of.name, group, AbortSignal.timeout(this.rig.limitMs));
      await eventually(this.rig.limitMs, "a backlog of 0", ask, (n) => n === 0);
    } finally {
      await within(this.rig.limitMs, "a transport to be disposed of", transport[Symbol.asyncDispose]());
    }
  }

  get broker(): Broker {
    return this.rig.broker();
  }

  /** A session has ended, or is giving up: the broker is away. */
  async outage(of: ObservedTally): Promise<void> {
    const over = (): boolean => of.events.some((e) => e.type === "session-lost" || e.type === "session-retired");
    await this.watch.until("a session to end", over, () => [...new Set(of.events.map((e) => e.type))]);
  }

  async event(of: ObservedTally, type: TallyEvent["type"]): Promise<void> {
    await this.watch.until(
      `the event ${type}`,
      () => of.events.some((e) => e.type === type),
      () => [...new Set(of.events.map((e) => e.type))],
    );
  }

  async settled<T>(what: string, work: Promise<T>): Promise<T> {
    return await within(this.rig.limitMs, what, work);
  }

  async quiet(): Promise<void> {
    await pause(this.rig.quietMs);
  }

  async end(): Promise<void> {
    const closing = this.#open.map((tally) => tally.close({ within: Math.max(1, this.rig.limitMs) }));
    await within(2 * this.rig.limitMs, "every tally to close", Promise.all(closing));
  }

  async #has(seen: readonly Effect<unknown>[], ids: readonly string[]): Promise<void> {
    const missing = new Set(ids);
    let read = 0;
    const holds = (): boolean => {
      for (; read < seen.length; read++) missing.delete(String(seen[read]?.id));
      return missing.size === 0;
    };
    await this.watch.until(
      `effects of ${ids.length} ids`,
      holds,
      () => `${seen.length} effects, ${missing.size} ids missing`,
    );
  }
}

export interface ObservedTally {
  readonly tally: Tally;
  readonly wire: Wire;
  readonly events: readonly TallyEvent[];
}

export interface Effect<Out> {
  readonly id: string | null;
  readonly body: Out;
  readonly context: Context;
}

/** What a consumer's handler has done, in order. */
export interface Effects<Out> {
  readonly seen: readonly Effect<Out>[];
  readonly consumer: Consumer;
  /** Resolves when each id had an effect, in any order and however often. */
  has(ids: readonly string[]): Promise<void>;
}
