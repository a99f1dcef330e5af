import { type AdminPort, TallyError, type TopicPlan, raced } from "@tallymq/core/spi";
import type { Driver, DriverAdmin } from "./driver/driver.ts";
import { classify } from "./errors.ts";
import { Progress } from "./progress.ts";
import type { Topology } from "./topology.ts";

const MIN_ISR = "min.insync.replicas";

/** Makes topics and counts. One client, opened when first needed, and anew after something failed. */
export class KafkaAdmin implements AdminPort {
  readonly #driver: Driver;
  readonly #topology: Topology;
  #client: Promise<DriverAdmin> | null = null;
  #closed = false;

  constructor(driver: Driver, topology: Topology) {
    this.#driver = driver;
    this.#topology = topology;
  }

  async declare(topics: readonly TopicPlan[], signal: AbortSignal): Promise<void> {
    await this.on(signal, "declaring topics", async (admin) => {
      for (const plan of topics) await this.#declare(admin, plan, plan.groups);
    });
  }

  /** As part of opening a receiver: the group's own topic is in no plan unless the topic names the group. */
  async declareFor(plan: TopicPlan, group: string, signal: AbortSignal): Promise<void> {
    await this.on(signal, `topic ${JSON.stringify(plan.name)}`, (admin) => this.#declare(admin, plan, [group]));
  }

  declareDelays(plan: TopicPlan): Promise<void> {
    return Promise.reject(
      new TallyError("unsupported", `topic ${JSON.stringify(plan.name)}: messages are not delayed on Kafka`),
    );
  }

  /** What the group has not settled, as far as its commits say. Offsets that hold no message (markers of transactions) count as well. */
  async backlog(topic: string, group: string, signal: AbortSignal): Promise<number> {
    return await this.on(signal, `topic ${JSON.stringify(topic)}`, async (admin) => {
      const plan = { name: topic, ordered: false, groups: [group] };
      let sum = 0;
      for (const name of this.#topology.topicsOf(plan, group)) {
        const [ranges, committed] = await Promise.all([
          admin.ranges(name),
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
    const opening = (this.#client ??= this.#driver.admin());
    try {
      return await raced(
        opening.then((admin) => work(admin)),
        signal,
      );
    } catch (thrown) {
      // What it knows of the cluster may be why: the next one begins anew.
      if (this.#client === opening && !TallyError.is(thrown)) this.#drop(opening);
      throw signal.aborted ? signal.reason : classify(thrown, what, "opening");
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    const opening = this.#client;
    this.#client = null;
    await (await opening?.catch(() => null))?.close().catch(() => {});
  }

  #drop(opening: Promise<DriverAdmin>): void {
    this.#client = null;
    void opening.then((admin) => admin.close()).catch(() => {});
  }

  async #declare(admin: DriverAdmin, plan: TopicPlan, groups: readonly string[]): Promise<void> {
    const topology = this.#topology;
    const wanted = new Set([topology.topicOf(plan.name), ...groups.flatMap((group) => topology.topicsOf(plan, group))]);
    const made = topology.plans(plan, groups, 1).map(({ name }) => name);
    if (made.some((name) => !topology.knows(name)))
      await admin.create(
        topology.plans(plan, groups, await admin.brokers()).filter(({ name }) => !topology.knows(name)),
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
          `topic ${JSON.stringify(name)} is not there${ours ? " (any more)" : ", and declare: false says not to make it"}`,
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
