import { Kafka, logLevel } from "kafkajs";
import { until } from "../engine/wait.ts";

/** Names of groups that lie on each of the three partitions in which the cluster keeps its groups. */
const GROUPS = ["a", "b", "c"];

/** Resolves when a client has been told of so many nodes, and the coordinators of groups answer: the only proof that they serve. */
export async function handshake(broker: string, nodes: number, within: number): Promise<void> {
  await until(`an answer of ${nodes} Kafka nodes`, within, async () => {
    const kafka = new Kafka({ brokers: [broker], logLevel: logLevel.NOTHING, retry: { retries: 0 } });
    const admin = kafka.admin();
    try {
      await admin.connect();
      if ((await admin.describeCluster()).brokers.length !== nodes) return false;
      for (const groupId of GROUPS) await admin.fetchOffsets({ groupId, topics: [] });
      return true;
    } finally {
      await admin.disconnect();
    }
  });
}
