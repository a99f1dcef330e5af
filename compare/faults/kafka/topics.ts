import { type Admin, Kafka, logLevel } from "kafkajs";
import type { KafkaCluster } from "../../../integration-tests/brokers/index.ts";

const CONSUMER = "org.apache.kafka.tools.consumer.ConsoleConsumer";
const PARTITIONS = 6;
const REPLICAS = 3;
/** Without a message for so long Java's consumer gives up; it ends at once when it has read as many as there are. */
const QUIET_MS = 30_000;

export async function makeTopics(
  cluster: KafkaCluster,
  topics: readonly string[],
  config: Readonly<Record<string, string>>,
): Promise<void> {
  await withAdmin(cluster, async (admin) => {
    const configEntries = Object.entries(config).map(([name, value]) => ({ name, value }));
    await admin.createTopics({
      topics: topics.map((topic) => ({
        topic,
        numPartitions: PARTITIONS,
        replicationFactor: REPLICAS,
        configEntries,
      })),
      // It gives up where a node has not heard of them yet.
      waitForLeaders: false,
    });
  });
  for (const topic of topics) await cluster.inSync(topic);
}

/**
 * Copies of each id in the logs of these topics, by client, as Java's console consumer reads them: it has nothing to do with
 * any of the clients compared.
 * @param stem what the names of the topics begin with, and of no others
 */
export async function copiesIn(
  cluster: KafkaCluster,
  topics: readonly string[],
  stem: string,
): Promise<ReadonlyMap<string, ReadonlyMap<string, number>>> {
  const there = await withAdmin(cluster, async (admin) => {
    const all = await Promise.all(topics.map((topic) => admin.fetchTopicOffsets(topic)));
    return all.flat().reduce((sum, { low, high }) => sum + Number(high) - Number(low), 0);
  });
  const [node] = cluster.nodes;
  const said =
    there === 0
      ? ""
      : await node!.tool(CONSUMER, [
          ...["--bootstrap-server", node!.inside, "--include", `${stem}.*`, "--from-beginning"],
          ...["--max-messages", String(there), "--timeout-ms", String(QUIET_MS)],
        ]);
  const copies = new Map<string, Map<string, number>>();
  let read = 0;
  for (const line of said.split("\n")) {
    if (!line.startsWith("{")) continue;
    const { client, id } = JSON.parse(line) as { readonly client: string; readonly id: string };
    let of = copies.get(client);
    if (of === undefined) copies.set(client, (of = new Map()));
    of.set(id, (of.get(id) ?? 0) + 1);
    read++;
  }
  if (read !== there) throw new Error(`${stem}: Java's consumer has read ${read} of ${there} messages`);
  return copies;
}

/** What lies beyond a group's commits. */
export async function lagOf(cluster: KafkaCluster, topic: string, groupId: string): Promise<number> {
  return await withAdmin(cluster, async (admin) => {
    const [ends, [committed]] = await Promise.all([
      admin.fetchTopicOffsets(topic),
      admin.fetchOffsets({ groupId, topics: [topic] }),
    ]);
    return ends.reduce((sum, { partition, low, high }) => {
      const at = Number(committed?.partitions.find((one) => one.partition === partition)?.offset ?? -1);
      return sum + Number(high) - Math.max(at, Number(low));
    }, 0);
  });
}

async function withAdmin<T>(cluster: KafkaCluster, work: (admin: Admin) => Promise<T>): Promise<T> {
  const admin = new Kafka({ brokers: [...cluster.direct], logLevel: logLevel.NOTHING }).admin();
  await admin.connect();
  try {
    return await work(admin);
  } finally {
    await admin.disconnect();
  }
}
