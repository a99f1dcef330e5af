import { type Admin, Kafka, logLevel } from "kafkajs";
import { type KafkaNode, startKafkaCluster } from "../../brokers/index.ts";
import { GROUP, TOPIC } from "../workload/job.ts";
import type { DemoBroker } from "./broker.ts";

const GROUP_ID = `${TOPIC}.${GROUP}`;

/** Three real Kafka nodes in containers. Clients reach them through proxies, so that their connections can be cut. */
export async function startKafkaBroker(progress: (line: string) => void): Promise<DemoBroker> {
  const cluster = await startKafkaCluster({ progress });
  let killed: KafkaNode | null = null;
  return {
    name: "kafka",
    title: "three Kafka nodes in containers",
    endpoint: { broker: "kafka", brokers: cluster.proxied },
    // Its metadata log has the topics before it answers.
    settle: async () => {},
    async kill() {
      killed = await cluster.leaderOf(TOPIC);
      await killed.kill();
    },
    async restart() {
      await killed?.start();
      // Or the next one to be killed could be one too many.
      for (const topic of [TOPIC, "__consumer_offsets"]) await cluster.inSync(topic);
    },
    proxy: null,
    async cut() {
      for (const { proxy } of cluster.nodes) proxy.cut();
    },
    async backlog() {
      const admin = new Kafka({ brokers: [...cluster.direct], logLevel: logLevel.NOTHING }).admin();
      await admin.connect();
      try {
        const names = (await admin.listTopics()).filter((name) => !name.startsWith("__"));
        return await Promise.all(
          names.map(async (name) => ({ where: "queue", name, n: await lag(admin, name) }) as const),
        );
      } finally {
        await admin.disconnect();
      }
    },
    // Its group is where it has committed, and nothing is out beyond that.
    returned: async () => {},
    slackMs: 90_000,
    [Symbol.asyncDispose]: () => cluster.stop(),
  };
}

/** What lies beyond the group's commits. */
async function lag(admin: Admin, topic: string): Promise<number> {
  const [ranges, [committed]] = await Promise.all([
    admin.fetchTopicOffsets(topic),
    admin.fetchOffsets({ groupId: GROUP_ID, topics: [topic] }),
  ]);
  return ranges.reduce((sum, { partition, low, high }) => {
    const at = Number(committed?.partitions.find((one) => one.partition === partition)?.offset ?? -1);
    return sum + Number(high) - Math.max(at, Number(low));
  }, 0);
}
