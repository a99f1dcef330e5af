import { type AuditFinding, type AuditPort, type AuditSubject, type Clock, raced } from "@tallymq/core/spi";
import type { Driver, DriverAdmin } from "../driver/driver.ts";
import { classify, typeOf } from "../errors.ts";
import type { ResolvedOptions } from "../options.ts";
import { Progress } from "../progress.ts";
import { ROOM, type Topology } from "../topology.ts";
import { CLEANUP, MAX_BYTES, MIN_ISR, RETENTION, RETENTION_BYTES, UNCLEAN } from "./checks.ts";
import { judge } from "./judge.ts";
import { type GroupSubject, thingsOf, type TopicSubject } from "./subjects.ts";
import type { GroupPartition, GroupState, TopicState, World } from "./world.ts";

const SETTINGS = [MIN_ISR, UNCLEAN, RETENTION, RETENTION_BYTES, MAX_BYTES, CLEANUP];
const AUTO_CREATE = "auto.create.topics.enable";

/**
 * The audit of Kafka: what the cluster says of topics, their settings, and groups. Each look has a client of its own, which
 * knows nothing that others have forgotten, and leaves nothing to them.
 */
export class KafkaAudit implements AuditPort {
  readonly #options: ResolvedOptions;
  readonly #driver: Driver;
  readonly #topology: Topology;
  readonly #clock: Clock;

  constructor(options: ResolvedOptions, driver: Driver, topology: Topology, clock: Clock) {
    this.#options = options;
    this.#driver = driver;
    this.#topology = topology;
    this.#clock = clock;
  }

  async look(subjects: readonly AuditSubject[], signal: AbortSignal): Promise<readonly AuditFinding[]> {
    signal.throwIfAborted();
    const bootstrap = this.#options.brokers.join();
    let admin: DriverAdmin | null = null;
    try {
      admin = await raced(this.#driver.admin(), signal, (late) => void late.close());
      return judge(await raced(this.#see(admin, subjects, bootstrap), signal));
    } catch (thrown) {
      throw signal.aborted ? signal.reason : classify(thrown, bootstrap, "opening");
    } finally {
      void admin?.close().catch(() => {});
    }
  }

  async #see(admin: DriverAdmin, subjects: readonly AuditSubject[], bootstrap: string): Promise<World> {
    const { name, maxBytes, batchBytes } = this.#options;
    const brokers = await admin.brokers();
    const things = thingsOf(this.#topology, subjects);
    const topics: TopicState[] = [];
    for (const one of things.topics) topics.push(await topicState(admin, one));
    const groups: GroupState[] = [];
    for (const one of things.groups) groups.push(await this.#groupState(admin, one, topics));
    return {
      destination: name,
      bootstrap,
      brokers,
      autoCreate: await autoCreate(admin, brokers),
      messageBytes: maxBytes + ROOM,
      batchBytes: batchBytes + ROOM,
      topics,
      groups,
    };
  }

  async #groupState(admin: DriverAdmin, group: GroupSubject, topics: readonly TopicState[]): Promise<GroupState> {
    const partitions: GroupPartition[] = [];
    for (const topic of group.topics) {
      const state = topics.find(({ name }) => name === topic);
      // Others have said what is wrong with it.
      if (state === undefined || !Array.isArray(state.partitions)) continue;
      const kept = state.settings === "hidden" ? -1 : Number(state.settings.get(RETENTION) ?? -1);
      const seen = await unlessHidden(async () => {
        const committed = await admin.committed(group.name, topic);
        const ranges = await admin.ranges(topic);
        const half = kept <= 0 ? [] : await admin.since(topic, this.#clock.wall() - kept / 2);
        return ranges.map(({ partition, low, high }): GroupPartition => {
          const at = committed.find((one) => one.partition === partition);
          const offset = at?.offset ?? null;
          return {
            topic,
            partition,
            committed: offset,
            beyond: offset === null ? 0 : Progress.doneIn(offset, at!.metadata, low),
            low,
            high,
            halfKept: half.find((one) => one.partition === partition)?.offset ?? null,
          };
        });
      });
      if (seen === "hidden") return { name: group.name, partitions: "hidden" };
      partitions.push(...seen);
    }
    return { name: group.name, partitions };
  }
}

async function topicState(admin: DriverAdmin, subject: TopicSubject): Promise<TopicState> {
  const partitions = await unlessHidden(() => admin.replicas(subject.name)).catch((thrown: unknown) => {
    if (typeOf(thrown) === "LEADER_NOT_AVAILABLE") return "leaderless" as const;
    throw thrown;
  });
  const settings = Array.isArray(partitions)
    ? await unlessHidden(() => admin.settings(subject.name, SETTINGS))
    : ("hidden" as const);
  return { ...subject, partitions, settings };
}

/** Of any broker: they are to be alike. */
async function autoCreate(admin: DriverAdmin, brokers: readonly number[]): Promise<boolean | "hidden"> {
  const [first] = brokers;
  if (first === undefined) return "hidden";
  const settings = await unlessHidden(() => admin.brokerSettings(first, [AUTO_CREATE]));
  const value = settings === "hidden" ? undefined : settings.get(AUTO_CREATE);
  return value === undefined ? "hidden" : value === "true";
}

/** What this user has no right to see is a finding, and does not end the look. */
async function unlessHidden<T>(ask: () => Promise<T>): Promise<T | "hidden"> {
  try {
    return await ask();
  } catch (thrown) {
    if (typeOf(thrown)?.endsWith("_AUTHORIZATION_FAILED") === true) return "hidden";
    throw thrown;
  }
}
