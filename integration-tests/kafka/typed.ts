import type { KafkaNode } from "../brokers/index.ts";

/** Kafka's scripts by the classes that they start: not every image has the scripts. */
const CLASSES: Readonly<Record<string, string>> = {
  "kafka-acls": "org.apache.kafka.tools.AclCommand",
  "kafka-configs": "kafka.admin.ConfigCommand",
  "kafka-reassign-partitions": "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
};

/** Does in the broker's container what a fix says, up to an alternative. @param from where the fix thinks that the broker is */
export async function typed(node: KafkaNode, fix: string, from: string): Promise<void> {
  for (const command of fix.split(", or ")[0]!.split("; ")) {
    const [script, ...rest] = command.replaceAll(from, node.inside).split(" ");
    const main = CLASSES[script!];
    if (main === undefined) await node.shell(`cd /tmp && ${command}`);
    else
      await node.tool(
        main,
        rest.map((one) => (one.endsWith(".json") ? `/tmp/${one}` : one)),
      );
  }
}
