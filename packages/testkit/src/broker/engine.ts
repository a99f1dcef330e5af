import { type Clock, DEAD_LETTERS, type Incoming, TallyError, type TopicPlan } from "@tallymq/core/spi";
import { type ConsumerPort, type Fate, Group, type GroupConsumer } from "./group.ts";

export interface EngineOptions {
  /** Read when a timer is set. */
  readonly clock: () => Clock;
  /** Messages in one group's queue, settled ones apart, at most; beyond it a publish is not stored. @default Infinity */
  readonly maxBacklog?: number;
  /** A message that comes back after so many deliveries goes to the group's dead letters. @default Infinity */
  readonly deliveryLimit?: number;
  /** Told when a message leaves a queue, before anyone can see that it has. */
  readonly left?: (group: Group, place: number, fate: Fate) => void;
}

/** A message that has been given its place and is not yet in the queues. */
export interface Accepted {
  readonly place: number;
  readonly groups: readonly Group[];
  readonly message: Incoming;
  /** Wall-clock milliseconds: not handed out before; 0: at once. */
  readonly dueAt: number;
}

/** Told when the broker stops and starts reading from its senders. */
export interface SenderPort {
  blocked(reason: string): void;
  unblocked(): void;
}

interface Topic {
  readonly ordered: boolean;
  /** Replaced, never changed: an accepted message keeps the array of its time. */
  groups: readonly Group[];
}

/**
 * The embedded broker's logic: topics, and for each group of a topic a queue of its own. Knows no sessions, sockets or
 * files; whoever has those calls it, and writes down what must outlive the process (`accept`, then write, then `commit`).
 */
export class Engine {
  readonly #o: Required<EngineOptions>;
  readonly #topics: Map<string, Topic> = new Map();
  readonly #senders: Set<SenderPort> = new Set();
  readonly #idle: Set<() => void> = new Set();
  #place = 0;
  #blocked: string | null = null;

  constructor(options: EngineOptions) {
    this.#o = {
      maxBacklog: Number.POSITIVE_INFINITY,
      deliveryLimit: Number.POSITIVE_INFINITY,
      left: () => {},
      ...options,
    };
  }

  /**
   * Makes what is missing; true if something was. Messages published before a group was made never reach it.
   * @throws TallyError `topology` when the topic exists with another `ordered`.
   */
  declare(plan: TopicPlan): boolean {
    const known = this.#topics.get(plan.name);
    if (known !== undefined && known.ordered !== plan.ordered) {
      const is = known.ordered ? "ordered" : "not ordered";
      throw new TallyError("topology", `topic ${JSON.stringify(plan.name)} exists and is ${is}`);
    }
    const topic = known ?? { ordered: plan.ordered, groups: [] };
    if (known === undefined) this.#topics.set(plan.name, topic);
    const missing = [...new Set(plan.groups)].filter((name) => !topic.groups.some((g) => g.name === name));
    if (missing.length > 0) {
      const made = missing.map(
        (name) =>
          new Group(plan.name, name, {
            ...this.#o,
            // Whoever looks through dead letters gives them back, again and again.
            deliveryLimit: name === DEAD_LETTERS ? Number.POSITIVE_INFINITY : this.#o.deliveryLimit,
            ordered: topic.ordered,
            left: this.#left,
          }),
      );
      topic.groups = [...topic.groups, ...made];
    }
    return known === undefined || missing.length > 0;
  }

  /** Everything declared, as plans. */
  plans(): TopicPlan[] {
    return [...this.#topics].map(([name, t]) => ({ name, ordered: t.ordered, groups: t.groups.map((g) => g.name) }));
  }

  /**
   * Gives a message its place and reserves room in each group's queue, or in that of the one group that it is for; `commit`
   * puts it there.
   * @returns `unroutable` when the topic has no such group, `full` when a group's queue has no room: nothing is stored then.
   */
  accept(message: Incoming, only: string | null = null, delayMs = 0): Accepted | "unroutable" | "full" {
    let groups = this.#topics.get(message.topic)?.groups;
    if (only !== null) groups = groups?.filter(({ name }) => name === only);
    if (groups === undefined || groups.length === 0) return "unroutable";
    for (const group of groups) if (group.full) return "full";
    for (const group of groups) group.reserve();
    this.#place += 1;
    const dueAt = delayMs > 0 ? this.#o.clock().wall() + delayMs : 0;
    return { place: this.#place, groups, message, dueAt };
  }

  /** In the order of `accept`. */
  commit(accepted: Accepted): void {
    for (const group of accepted.groups) {
      // A group that was removed in the meantime must not fill up again unseen.
      if (this.find(group.topic, group.name) === group) group.push(accepted.place, accepted.message, accepted.dueAt);
    }
  }

  /** As after a restart: a message with the place it had, and its fate in each group; places must rise. */
  restore(place: number, message: Incoming, dueAt: number, fate: (group: Group) => "waiting" | Fate): void {
    this.#place = Math.max(this.#place, place);
    for (const group of this.#topics.get(message.topic)?.groups ?? []) {
      const is = fate(group);
      if (is === "dead") group.pushDead(place, message);
      if (is !== "waiting") continue;
      group.reserve();
      group.push(place, message, dueAt);
    }
  }

  /** @throws TallyError `topology` when there is no such group. */
  subscribe(topic: string, group: string, credit: number, port: ConsumerPort): GroupConsumer {
    return this.group(topic, group).join(credit, port);
  }

  find(topic: string, group: string): Group | null {
    return this.#topics.get(topic)?.groups.find((g) => g.name === group) ?? null;
  }

  /** @throws TallyError `topology` when there is no such group. */
  group(topic: string, name: string): Group {
    const group = this.find(topic, name);
    if (group !== null) return group;
    throw new TallyError("topology", `topic ${JSON.stringify(topic)} has no group ${JSON.stringify(name)}`);
  }

  /** Removes a group with all its messages; its consumers are told. */
  removeGroup(topic: string, name: string): void {
    const group = this.group(topic, name);
    const of = this.#topics.get(topic)!;
    of.groups = of.groups.filter((g) => g !== group);
    group.remove();
    this.#tellIdle();
  }

  get blocked(): string | null {
    return this.#blocked;
  }

  /** Senders are told at once, and one that joins later hears it as it joins. */
  block(reason: string): void {
    if (this.#blocked !== null) return;
    this.#blocked = reason;
    for (const sender of [...this.#senders]) sender.blocked(reason);
  }

  unblock(): void {
    if (this.#blocked === null) return;
    this.#blocked = null;
    for (const sender of [...this.#senders]) sender.unblocked();
  }

  joinSender(port: SenderPort): () => void {
    this.#senders.add(port);
    if (this.#blocked !== null) port.blocked(this.#blocked);
    return () => {
      this.#senders.delete(port);
    };
  }

  /** Nothing waits, is delayed or is out, in any group. Dead letters do not count, the broker's own or core's. */
  get isIdle(): boolean {
    for (const topic of this.#topics.values()) {
      for (const group of topic.groups) if (group.backlog > 0 && group.name !== DEAD_LETTERS) return false;
    }
    return true;
  }

  /** Resolves when nothing waits, is delayed or is out any more. */
  idle(signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      if (signal?.aborted) return reject(signal.reason as Error);
      if (this.isIdle) return resolve();
      const onAbort = (): void => {
        this.#idle.delete(onIdle);
        reject(signal?.reason as Error);
      };
      const onIdle = (): void => {
        signal?.removeEventListener("abort", onAbort);
        resolve();
      };
      this.#idle.add(onIdle);
      signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  readonly #left = (group: Group, place: number, fate: Fate): void => {
    this.#o.left(group, place, fate);
    if (group.backlog === 0) this.#tellIdle();
  };

  #tellIdle(): void {
    if (this.#idle.size === 0 || !this.isIdle) return;
    for (const resolve of this.#idle) resolve();
    this.#idle.clear();
  }
}
