import { type AuditFinding, type AuditPort, type AuditSubject, describe, raced } from "@tallymq/core/spi";
import type { BrokerOnNames, Cluster } from "../remoting/cluster.ts";
import type { Master } from "../remoting/master.ts";
import { besideOf, type PlannedTopic, type Topology } from "../topology.ts";
import { judge } from "./judge.ts";
import type { BrokerState, GroupState, TopicState, World } from "./world.ts";

export interface AuditOptions {
  readonly name: string;
  readonly downtime: number;
  readonly topology: Topology;
  /** Null: without name servers nobody can be asked. */
  readonly cluster: Cluster | null;
}

/** The audit of RocketMQ: what name servers, brokers and controllers say of themselves in the admin protocol. */
export class RocketAudit implements AuditPort {
  readonly #o: AuditOptions;

  constructor(options: AuditOptions) {
    this.#o = options;
  }

  async look(subjects: readonly AuditSubject[], signal: AbortSignal): Promise<readonly AuditFinding[]> {
    return judge(await raced(this.#see(subjects, signal), signal));
  }

  async #see(subjects: readonly AuditSubject[], signal: AbortSignal): Promise<World> {
    const { name: destination, downtime, cluster } = this.#o;
    const { topics, groups } = this.#things(subjects);
    const blind = { destination, names: null, brokers: null, topics, groups, downtime };
    if (cluster === null) return blind;
    const silent: string[] = [];
    /** Null for what nobody answers; the first reason is told. */
    const ask = async <T>(asking: () => Promise<T>): Promise<T | null> => {
      try {
        signal.throwIfAborted();
        return await asking();
      } catch (thrown) {
        signal.throwIfAborted();
        silent.push(describe(thrown));
        return null;
      }
    };
    const known = await ask(() => cluster.brokers());
    if (known === null) return { ...blind, names: silent[0]! };
    const brokers: BrokerState[] = [];
    for (const [name, one] of known) brokers.push(await brokerState(cluster, name, one, ask));
    const masters = [...known.values()].flatMap(({ master }) => master ?? []);
    const on = async <T>(of: (master: Master) => Promise<T>): Promise<ReadonlyMap<string, T> | "unseen"> => {
      const found = new Map<string, T>();
      for (const master of masters) {
        const one = await ask(async () => ({ is: await of(master) }));
        if (one !== null) found.set(master.name, one.is);
      }
      return found.size === 0 ? "unseen" : found;
    };
    const seenTopics: TopicState[] = [];
    for (const one of topics) seenTopics.push({ ...one, on: await on((master) => master.topic(one.name)) });
    const seenGroups: GroupState[] = [];
    for (const one of groups) seenGroups.push({ ...one, on: await on((master) => master.group(one.name)) });
    return { ...blind, names: silent[0] ?? "", brokers, topics: seenTopics, groups: seenGroups };
  }

  /** Topics and groups of these subjects, each once, as if nobody had seen them. */
  #things(subjects: readonly AuditSubject[]): {
    readonly topics: readonly TopicState[];
    readonly groups: readonly GroupState[];
  } {
    const { topology } = this.#o;
    const topics = new Map<string, PlannedTopic>();
    const groups = new Map<string, GroupState>();
    for (const { topic, group, attempts } of subjects) {
      const members = group === null ? topic.groups : [group];
      // Where delays are declared is known when they are: with the first consumer at the latest.
      for (const one of topology.plans(topic, members, besideOf(group))) topics.set(one.name, one);
      for (const each of members) {
        const name = topology.groupOf(topic.name, each);
        const most = Math.max(groups.get(name)?.attempts ?? 0, attempts);
        groups.set(name, { name, ordered: topic.ordered, attempts: most, on: "unseen" });
      }
    }
    return {
      topics: [...topics.values()].map(({ name, kind }) => ({ name, kind, on: "unseen" })),
      groups: [...groups.values()],
    };
  }
}

async function brokerState(
  cluster: Cluster,
  name: string,
  { master, replicas }: BrokerOnNames,
  ask: <T>(asking: () => Promise<T>) => Promise<T | null>,
): Promise<BrokerState> {
  if (master === null) return { name, settings: null, version: null, replicas, inSync: null, controllers: null };
  const settings = await ask(() => master.settings());
  const version = await ask(() => master.version());
  const inSync = replicas < 2 ? null : await ask(() => master.inSync());
  const controllers: ReadonlyMap<string, string>[] = [];
  if (settings?.get("enableControllerMode") === "true")
    for (const address of (settings.get("controllerAddr") ?? "").split(";").filter((each) => each !== "")) {
      const said = await ask(() => cluster.controllerSettings(address.trim()));
      if (said !== null) controllers.push(said);
    }
  return { name, settings, version, replicas, inSync, controllers: controllers.length === 0 ? null : controllers };
}
