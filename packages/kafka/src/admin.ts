import { type AdminPort, type Clock, raced, sleep, TallyError, type TopicPlan } from "@tallymq/core/spi";
import type { Driver, DriverAdmin, NewTopic, Range } from "./driver/driver.ts";
import { classify, typeOf } from "./errors.ts";
import { Progress } from "./progress.ts";
import { FORWARDERS, type Topology } from "./topology.ts";

const MIN_ISR = "min.insync.replicas";
/** What has been made is looked for so often, in milliseconds, and so many times. */
const LOOK_MS = 50;
const LOOKS = 60;

/** Makes topics and counts. One client, opened when first needed, and anew after something failed. */
export class KafkaAdmin implements AdminPort {
  readonly #driver: Driver;
  readonly #clock: Clock;
  readonly #topology: Topology;
  /** Somebody is to forward what is delayed of this topic. */
  readonly #delaying: (topic: string) => void;
  #client: Promise<DriverAdmin> | null = null;
  /** Calls under way, by client. */
  readonly #users: Map<Promise<DriverAdmin>, number> = new Map();
  #closed = false;

  constructor(driver: Driver, clock: Clock, topology: Topology, delaying: (topic: string) => void) {
    this.#driver = driver;
    this.#clock = clock;
    this.#topology = topology;
    this.#delaying = delaying;
  }

  async declare(topics: readonly TopicPlan[], signal: AbortSignal): Promise<void> {
    await this.on(signal, "declaring topics", async (admin) => {
      for (const plan of topics) await this.#declare(admin, plan, plan.groups, signal);
    });
  }

  /** As part of opening a receiver: the group's own topic is in no plan unless the topic names the group. */
  async declareFor(plan: TopicPlan, group: string, signal: AbortSignal): Promise<void> {
    await this.on(signal, `topic ${JSON.stringify(plan.name)}`, (admin) => this.#declare(admin, plan, [group], signal));
  }

  /** All of it, however long the delay: a partition more than needed costs less than a topic that grows. */
  async declareDelays(plan: TopicPlan, _upToMs: number, signal: AbortSignal): Promise<void> {
    await this.on(signal, `topic ${JSON.stringify(this.#topology.delaysOf(plan.name))}`, async (admin) => {
      if (await this.#hasDelays(admin, plan.name)) return;
      if (this.#topology.makes(plan.name)) {
        await this.#create(admin, [this.#topology.delaysPlan(plan, (await admin.brokers()).length)], signal);
        if (await this.#hasDelays(admin, plan.name)) return;
      }
      const name = JSON.stringify(this.#topology.delaysOf(plan.name));
      throw this.#topology.makes(plan.name)
        ? new TallyError("topology", `topic ${name} is not there yet`, { retryable: true })
        : new TallyError("unsupported", `topic ${name} is not there, and declare: "passive" says not to make it`);
    });
    this.#delaying(plan.name);
  }

  /** Whether the topic has one for its delays. */
  async hasDelays(topic: string, signal: AbortSignal): Promise<boolean> {
    return await this.on(signal, `topic ${JSON.stringify(topic)}`, (admin) => this.#hasDelays(admin, topic));
  }

  /** Lets go of what those who forward have committed: nobody reads it again. */
  async forgetForwarded(topic: string, signal: AbortSignal): Promise<void> {
    const name = this.#topology.delaysOf(topic);
    await this.on(signal, `topic ${JSON.stringify(name)}`, async (admin) => {
      const group = this.#topology.groupOf(topic, FORWARDERS);
      const [ranges, committed] = await Promise.all([this.ranges(admin, name, signal), admin.committed(group, name)]);
      const below = committed.flatMap(({ partition, offset }) => {
        const low = ranges.find((one) => one.partition === partition)?.low ?? 0;
        return offset !== null && offset > low ? [{ partition, offset }] : [];
      });
      if (below.length > 0) await admin.forget(name, below);
    });
  }

  /** What the group has not settled, as far as its commits say. Offsets that hold no message (markers of transactions) count as well. */
  async backlog(topic: string, group: string, signal: AbortSignal): Promise<number> {
    return await this.on(signal, `topic ${JSON.stringify(topic)}`, async (admin) => {
      const plan = { name: topic, ordered: false, groups: [group] };
      let sum = 0;
      for (const name of this.#topology.topicsOf(plan, group)) {
        const [ranges, committed] = await Promise.all([
          this.ranges(admin, name, signal),
          admin.committed(this.#topology.groupOf(topic, group), name),
        ]);
        for (const { partition, low, high } of ranges) {
          const at = committed.find((one) => one.partition === partition);
          const from = Math.max(at?.offset ?? low, low);
          const beyond = at === undefined || at.offset === null ? 0 : Progress.doneIn(at.offset, at.metadata, low);
          sum += Math.max(0, high - from - beyond);
        }
      }
      return sum;
    });
  }

  async on<T>(signal: AbortSignal, what: string, work: (admin: DriverAdmin) => Promise<T>): Promise<T> {
    if (this.#closed) throw new TallyError("closed", "the transport is closed");
    signal.throwIfAborted();
    const opening = (this.#client ??= this.#open());
    this.#users.set(opening, (this.#users.get(opening) ?? 0) + 1);
    try {
      return await raced(
        opening.then((admin) => work(admin)),
        signal,
      );
    } catch (thrown) {
      // What it knows of the cluster may be why, or a connection that is half open, and it may never open at all: the next
      // one begins anew.
      if (this.#client === opening && (signal.aborted || !TallyError.is(thrown))) this.#client = null;
      throw signal.aborted ? signal.reason : classify(thrown, what, "opening");
    } finally {
      this.#left(opening);
    }
  }

  #open(): Promise<DriverAdmin> {
    const opening = this.#driver.admin();
    // Whatever kept it from opening, the next call tries again.
    opening.catch(() => {
      if (this.#client === opening) this.#client = null;
    });
    return opening;
  }

  /** A partition that was just made, or moved, has a leader that does not know it yet: asked again for a while. */
  async ranges(admin: DriverAdmin, topic: string, signal: AbortSignal): Promise<readonly Range[]> {
    for (let tries = 1; ; tries++) {
      try {
        return await admin.ranges(topic);
      } catch (thrown) {
        if (tries === LOOKS || typeOf(thrown) !== "NOT_LEADER_FOR_PARTITION") throw thrown;
        await sleep(this.#clock, LOOK_MS, signal);
      }
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    const opening = this.#client;
    this.#client = null;
    await (await opening?.catch(() => null))?.close().catch(() => {});
  }

  /** One that is not to be used again is closed by the last who does: its connections are everybody's. */
  #left(opening: Promise<DriverAdmin>): void {
    const users = this.#users.get(opening)! - 1;
    this.#users.set(opening, users);
    if (users > 0) return;
    this.#users.delete(opening);
    if (this.#client !== opening) void opening.then((admin) => admin.close()).catch(() => {});
  }

  async #hasDelays(admin: DriverAdmin, topic: string): Promise<boolean> {
    const name = this.#topology.delaysOf(topic);
    const partitions = (await admin.partitions([name])).get(name);
    if (partitions === undefined) return false;
    this.#topology.learned(name, partitions, this.#topology.knows(name) ? undefined : await minIsrOf(admin, name));
    return true;
  }

  /** Until the broker that is asked has heard of them: it is told by the controller, after that has answered. */
  async #create(admin: DriverAdmin, topics: readonly NewTopic[], signal: AbortSignal): Promise<void> {
    await admin.create(topics);
    const names = topics.map(({ name }) => name);
    for (let looks = 1; looks <= LOOKS; looks++) {
      const there = await admin.partitions(names).catch((thrown: unknown) => {
        if (looks === LOOKS) throw thrown;
        return null;
      });
      if (there?.size === names.length) return;
      await sleep(this.#clock, LOOK_MS, signal);
    }
  }

  async #declare(admin: DriverAdmin, plan: TopicPlan, groups: readonly string[], signal: AbortSignal): Promise<void> {
    const topology = this.#topology;
    const wanted = new Set([topology.topicOf(plan.name), ...groups.flatMap((group) => topology.topicsOf(plan, group))]);
    const made = topology.plans(plan, groups, 1).map(({ name }) => name);
    if (made.some((name) => !topology.knows(name)))
      await this.#create(
        admin,
        topology.plans(plan, groups, (await admin.brokers()).length).filter(({ name }) => !topology.knows(name)),
        signal,
      );
    const there = await admin.partitions([...wanted]);
    for (const name of wanted) {
      const partitions = there.get(name);
      if (partitions === undefined) {
        // Deleted under us: ours is made anew by the next try.
        const ours = made.includes(name);
        topology.forget(name);
        throw new TallyError(
          "topology",
          `topic ${JSON.stringify(name)} is not there${ours ? " (any more)" : `, and declare: ${topology.declareOf(plan.name)} says not to make it`}`,
          { retryable: ours },
        );
      }
      const minIsr = topology.knows(name) ? undefined : await minIsrOf(admin, name);
      topology.learned(name, partitions, minIsr);
    }
  }
}

async function minIsrOf(admin: DriverAdmin, topic: string): Promise<number | null> {
  try {
    const given = (await admin.settings(topic, [MIN_ISR])).get(MIN_ISR);
    return given === undefined ? null : Number(given);
  } catch {
    // Not for this user to see: the proof says that it is not known.
    return null;
  }
}
