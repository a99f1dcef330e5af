import { type Admin, Kafka, logLevel } from "kafkajs";
import { startKafka } from "../../brokers/index.ts";
import { GROUP, TOPIC } from "../workload/job.ts";
import type { DemoBroker } from "./broker.ts";

const GROUP_ID = `${TOPIC}.${GROUP}`;

/** A real Kafka in a container. Clients reach it through a proxy, so that their connections can be cut. */
export async function startKafkaBroker(progress: (line: string) => void): Promise<DemoBroker> {
  const node = await startKafka({ progress });
  return {
    name: "kafka",
    title: "Kafka in a container",
    endpoint: { broker: "kafka", brokers: [node.proxied] },
    // Its metadata log has the topics before it answers.
    settle: async () => {},
    kill: () => node.kill(),
    restart: () => node.start(),
    async cut() {
      node.proxy.cut();
    },
    async backlog() {
      const admin = new Kafka({ brokers: [node.direct], logLevel: logLevel.NOTHING }).admin();
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
    [Symbol.asyncDispose]: () => node.stop(),
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
