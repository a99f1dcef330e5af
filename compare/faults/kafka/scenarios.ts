import { setTimeout as sleep } from "node:timers/promises";
import type { KafkaCluster, KafkaNode } from "../../../integration-tests/brokers/index.ts";
import { seeded } from "../../../integration-tests/workload/random.ts";

/** What a scenario may do things to; every client's topic is on it, and every connection goes through its proxies. */
export interface Stage {
  readonly cluster: KafkaCluster;
  /** One for each client, six partitions and three replicas each. */
  readonly topics: readonly string[];
}

/** One kind of fault, as often as it takes to be met; ends by itself, with all nodes back. */
export interface Scenario {
  readonly name: string;
  readonly words: string;
  /** Without keys a client chooses the partition anew whenever it likes. */
  readonly keyed: boolean;
  /** Messages in one call, where the client's call takes several. */
  readonly call: number;
  /** Of the topics, more than the cluster's defaults. */
  readonly config: Readonly<Record<string, string>>;
  run(stage: Stage): Promise<void>;
}

const PLAIN = { keyed: true, call: 1, config: {} } as const;

export const SCENARIOS: readonly Scenario[] = [
  {
    ...PLAIN,
    name: "two-leaders",
    words: "a call's messages lie with several leaders, and one of them moves",
    call: 10,
    run: (stage) => moved(stage, 2),
  },
  { ...PLAIN, name: "leader-moves", words: "the leader of a partition moves, three times", run: (s) => moved(s, 3) },
  {
    ...PLAIN,
    name: "reassigned",
    words: "three partitions' replicas are given to other nodes",
    async run({ cluster, topics }) {
      for (const partition of [0, 1, 2]) await Promise.all(topics.map((topic) => cluster.moveLeader(topic, partition)));
    },
  },
  {
    ...PLAIN,
    name: "leader-killed",
    words: "a node that leads is killed with -9, and comes back after 6 s",
    run: (stage) => killed(stage, 6_000),
  },
  {
    ...PLAIN,
    name: "leader-stopped",
    words: "a node that leads is stopped (SIGSTOP) for 8 s",
    run: (stage) => stopped(stage, 8_000),
  },
  {
    ...PLAIN,
    name: "cut",
    words: "connections are cut after the append, before the answer, five times",
    run: (stage) => cut(stage, 5),
  },
  {
    ...PLAIN,
    name: "answers-dropped",
    words: "no answer comes for 35 s, longer than a request waits for one; then connections are cut",
    run: (stage) => cut(stage, 1, 35_000),
  },
  {
    ...PLAIN,
    name: "cut-keyless",
    words: "the same without keys",
    keyed: false,
    run: (stage) => cut(stage, 5),
  },
  {
    ...PLAIN,
    name: "slow-and-moved",
    words: "a slow network, and the leader moves",
    async run(stage) {
      for (const { proxy } of stage.cluster.nodes) proxy.slow({ bytesPerSecond: 40_000, slice: 512 });
      await moved(stage, 2);
      for (const { proxy } of stage.cluster.nodes) await proxy.heal();
    },
  },
  {
    ...PLAIN,
    name: "isr-short",
    words: "too few replicas are in sync for 8 s",
    config: { "min.insync.replicas": "3" },
    run: (stage) => killed(stage, 8_000),
  },
  {
    ...PLAIN,
    name: "rejected",
    words: "the same for 25 s, until sends are rejected; the same producer goes on",
    config: { "min.insync.replicas": "3" },
    run: (stage) => killed(stage, 25_000),
  },
  {
    ...PLAIN,
    name: "random",
    words: "eight of these one after the other, drawn by lot",
    async run(stage) {
      const random = seeded(7);
      const faults = [
        () => moved(stage, 1),
        () => killed(stage, 5_000),
        () => stopped(stage, 4_000),
        () => cut(stage, 2),
        () => cut(stage, 2),
      ];
      for (let n = 0; n < 8; n++) await faults[Math.floor(random() * faults.length)]!();
    },
  },
];

/** Partition 0 of each topic, from node to node. */
async function moved({ cluster, topics }: Stage, times: number): Promise<void> {
  for (let n = 0; n < times; n++) await Promise.all(topics.map((topic) => cluster.moveLeader(topic, 0)));
}

async function killed(stage: Stage, away: number): Promise<void> {
  const node = await led(stage);
  await node.kill();
  await sleep(away);
  await node.start();
  await Promise.all(stage.topics.map((topic) => stage.cluster.inSync(topic)));
}

async function stopped(stage: Stage, away: number): Promise<void> {
  const node = await led(stage);
  await node.pause();
  await sleep(away);
  await node.unpause();
  await Promise.all(stage.topics.map((topic) => stage.cluster.inSync(topic)));
}

/** What clients send arrives, what the brokers answer does not; then connections are reset. */
async function cut({ cluster }: Stage, times: number, silent = 300): Promise<void> {
  for (let n = 0; n < times; n++) {
    for (const { proxy } of cluster.nodes) proxy.halfOpen("broker");
    await sleep(silent);
    for (const { proxy } of cluster.nodes) proxy.cut();
    for (const { proxy } of cluster.nodes) await proxy.heal();
    await sleep(1_000);
  }
}

/** It leads partition 0 of the first topic, and two partitions of each. */
async function led({ cluster, topics }: Stage): Promise<KafkaNode> {
  return await cluster.leaderOf(topics[0]!, 0);
}
