import { type AdminPort, raced, TallyError, type TopicPlan } from "@tallymq/core/spi";
import { type Driver, OK, StatusError } from "./driver/driver.ts";
import { classify } from "./errors.ts";
import type { ResolvedOptions } from "./options.ts";
import type { Cluster } from "./remoting/cluster.ts";
import type { Master } from "./remoting/master.ts";
import { RETRY, Standing } from "./standing.ts";
import { type Beside, besideOf, GIVEN_UP, type PlannedTopic, type Topology } from "./topology.ts";

/** Ours is 16; a broker that gives up first throws away innocents, and says no reason. */
const RETRIES = 1_000;

const LATER: Beside = new Set(["later"]);
const HALVES: Beside = new Set(["halves"]);

/** Makes topics and groups, and counts. What needs the name servers is `unsupported` without them. */
export class RocketAdmin implements AdminPort {
  readonly #o: ResolvedOptions;
  readonly #topology: Topology;
  readonly #cluster: Cluster | null;
  readonly #driver: Driver;
  readonly #standings: Map<string, Standing> = new Map();
  /** Groups that are known to be there, with where they begin. */
  readonly #groups: Set<string> = new Set();
  #closed = false;

  constructor(options: ResolvedOptions, topology: Topology, cluster: Cluster | null, driver: Driver) {
    this.#o = options;
    this.#topology = topology;
    this.#cluster = cluster;
    this.#driver = driver;
  }

  async declare(topics: readonly TopicPlan[], signal: AbortSignal): Promise<void> {
    for (const plan of topics) await this.#declare(plan, plan.groups, besideOf(null), signal);
  }

  /** As part of opening a receiver: the group's own topics are in no plan unless the topic names the group. */
  async declareFor(plan: TopicPlan, group: string, signal: AbortSignal): Promise<void> {
    await this.#declare(plan, [group], besideOf(group), signal);
  }

  async declareHalves(plan: TopicPlan, signal: AbortSignal): Promise<void> {
    await this.#declare(plan, plan.groups, HALVES, signal);
  }

  async declareDelays(plan: TopicPlan, _upToMs: number, signal: AbortSignal): Promise<void> {
    if (plan.ordered)
      throw new TallyError(
        "unsupported",
        `topic ${JSON.stringify(plan.name)} is ordered: its messages cannot be delayed`,
      );
    await this.#declare(plan, plan.groups, LATER, signal);
  }

  async backlog(topic: string, group: string, signal: AbortSignal): Promise<number> {
    const id = this.#topology.groupOf(topic, group);
    const standing = this.standing(id);
    return await this.#on(signal, `topic ${JSON.stringify(topic)}`, async (cluster) => {
      let sum = standing.away;
      for (const master of await cluster.masters()) {
        for (const name of this.#topology.topicsOf({ name: topic, ordered: false, groups: [group] }, group)) {
          const there = await master.topic(name);
          if (there === null) continue;
          for (const { queue, min, max, group: at } of await master.offsets(name, id, there.queues))
            sum += standing.count(name, queue, Math.max(at ?? min, min), max);
          const again = `${RETRY}${id}_${name}`;
          const retries = await master.topic(again);
          if (retries === null) continue;
          for (const { queue, min, max, group: at } of await master.offsets(again, id, retries.queues))
            sum += standing.count(`${RETRY}${name}`, queue, Math.max(at ?? min, min), max);
        }
      }
      return sum;
    });
  }

  /**
   * Whether every broker says that the topic is not there, takes nothing, or takes another kind. False while one gives no
   * answer, and without name servers: who is away may have it. Never rejects.
   */
  async turnsAway(name: string): Promise<boolean> {
    const kind = this.#topology.kindOf(name);
    if (this.#cluster === null || this.#closed) return false;
    try {
      for (const [, { master }] of await this.#cluster.brokers()) {
        if (master === null) return false;
        const topic = await master.topic(name);
        if (topic?.writes === true && topic.kind === kind) return false;
      }
      return (await this.#cluster.masters()).length > 0;
    } catch {
      return false;
    }
  }

  /** Of the topics that a group reads those that are there: one is the broker's to make. */
  async read(plan: TopicPlan, group: string, signal: AbortSignal): Promise<readonly string[]> {
    const all = this.#topology.topicsOf(plan, group);
    const ours = all.filter((name) => !name.startsWith(GIVEN_UP));
    if (ours.length === all.length || this.#cluster === null) return ours;
    return await this.#on(signal, `topic ${JSON.stringify(plan.name)}`, async (cluster) => {
      const there = new Set(ours);
      for (const master of await cluster.masters())
        for (const name of all) if ((await master.topic(name)) !== null) there.add(name);
      return [...there];
    });
  }

  standing(group: string): Standing {
    let standing = this.#standings.get(group);
    if (standing === undefined) this.#standings.set(group, (standing = new Standing()));
    return standing;
  }

  close(): void {
    this.#closed = true;
    this.#cluster?.close();
  }

  async #on<T>(signal: AbortSignal, what: string, work: (cluster: Cluster) => Promise<T>): Promise<T> {
    if (this.#closed) throw new TallyError("closed", "the transport is closed");
    signal.throwIfAborted();
    const cluster = this.#cluster;
    if (cluster === null)
      throw new TallyError("unsupported", `${what}: rocketmq() needs the name servers for that; give it names`);
    try {
      return await raced(work(cluster), signal);
    } catch (thrown) {
      throw signal.aborted ? signal.reason : classify(thrown, what, "opening");
    }
  }

  async #declare(plan: TopicPlan, groups: readonly string[], beside: Beside, signal: AbortSignal): Promise<void> {
    // Names first: one that RocketMQ cannot have is refused without asking anybody.
    const planned = this.#topology.plans(plan, groups, beside);
    for (const group of groups) this.#topology.groupOf(plan.name, group);
    if (this.#cluster === null) return await this.#look(plan, planned, signal);
    await this.#on(signal, `topic ${JSON.stringify(plan.name)}`, async (cluster) => {
      const masters = await cluster.masters();
      for (const topic of planned) for (const master of masters) await this.#topic(cluster, master, topic);
      for (const topic of planned) this.#topology.learned(topic);
      for (const group of groups) for (const master of masters) await this.#group(master, plan, group);
      await this.#flushed(masters);
    });
  }

  async #topic(cluster: Cluster, master: Master, topic: PlannedTopic): Promise<void> {
    const there = await master.topic(topic.name);
    if (there === null) {
      if (!topic.own)
        throw new TallyError(
          "topology",
          `topic ${JSON.stringify(topic.name)} is not on ${master.name}, and declare: false says not to make it`,
        );
      this.#topology.forget(topic.name);
      await cluster.makeTopic(master, topic.name, topic.kind, this.#o.queues);
    } else if (there.kind !== topic.kind)
      throw new TallyError(
        "topology",
        `topic ${JSON.stringify(topic.name)} takes messages of the kind ${there.kind} on ${master.name}; ${topic.kind} is needed`,
      );
  }

  /** A group that is new begins where `from` says: by itself the broker begins here or there. */
  async #group(master: Master, plan: TopicPlan, group: string): Promise<void> {
    const id = this.#topology.groupOf(plan.name, group);
    const there = await master.group(id);
    if (there === null) await master.makeGroup(id, plan.ordered, RETRIES);
    else if (there.ordered !== plan.ordered)
      throw new TallyError(
        "topology",
        `group ${JSON.stringify(id)} is ${there.ordered ? "" : "not "}ordered on ${master.name} (consumeMessageOrderly); topic ${JSON.stringify(plan.name)} is${plan.ordered ? "" : " not"}`,
      );
    for (const name of this.#topology.topicsOf(plan, group)) {
      const at = `${master.name} ${id} ${name}`;
      if (this.#groups.has(at)) continue;
      const topic = await master.topic(name);
      if (topic === null) continue;
      // What the broker has given up on is nothing to be passed over, however new the group is that looks at it.
      const first = this.#o.from === "earliest" || name.startsWith(GIVEN_UP);
      for (const { queue, min, max, group: known } of await master.offsets(name, id, topic.queues))
        if (known === null) await master.writeOffset(name, id, queue, first ? min : max);
      this.#groups.add(at);
    }
  }

  async #flushed(masters: readonly Master[]): Promise<void> {
    try {
      const said = await Promise.all(masters.map(async (master) => (await master.settings()).get("flushDiskType")));
      this.#topology.vouched(said.every((one) => one === "SYNC_FLUSH") ? "yes" : "no");
    } catch {
      // Not for this user to see: the proof says that it is not known.
      this.#topology.vouched("unverified");
    }
  }

  /** Without name servers the proxy is asked whether the topics are there. */
  async #look(plan: TopicPlan, planned: readonly PlannedTopic[], signal: AbortSignal): Promise<void> {
    if (this.#closed) throw new TallyError("closed", "the transport is closed");
    signal.throwIfAborted();
    const missing = planned.filter(({ name }) => !this.#topology.knows(name));
    if (missing.length === 0) return;
    const what = `topic ${JSON.stringify(plan.name)}`;
    try {
      const link = await this.#driver.open(
        { kind: "producer", topics: [] },
        { lost: () => {}, asked: () => {} },
        signal,
      );
      try {
        for (const topic of missing) {
          const status = await raced(link.route(topic.name), signal);
          if (status.code !== OK) throw new StatusError(status);
          this.#topology.learned(topic);
        }
      } finally {
        void link.close();
      }
    } catch (thrown) {
      throw signal.aborted ? signal.reason : classify(thrown, what, "opening");
    }
  }
}
