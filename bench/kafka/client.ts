// A client's process: runs one task, prints its figures as one line of JSON.
import { type Client, runTask } from "../clients/task.ts";
import type { KafkaTask } from "./task.ts";

await runTask<KafkaTask>(open);

/** Loaded by name: a process holds the one client that it is about. */
async function open(task: KafkaTask): Promise<Client> {
  const consumes = task.verb === "consume";
  switch (task.client) {
    case "kafkajs":
    case "kafkajs-defaults": {
      const { kafkaJs, kafkaJsConsumer } = await import("./clients/kafkajs.ts");
      return consumes ? await kafkaJsConsumer(task) : await kafkaJs(task);
    }
    case "platformatic":
      return await (await import("./clients/platformatic.ts")).platformatic(task);
    case "confluent":
      return await (await import("./clients/confluent.ts")).confluent(task);
    case "tally": {
      const { tally, tallyConsumer } = await import("./clients/tally.ts");
      return consumes ? await tallyConsumer(task) : await tally(task);
    }
  }
}
