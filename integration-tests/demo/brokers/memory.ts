import { join } from "node:path";
import { startMemoryBroker } from "@tallymq/testkit";
import { GROUP, TOPIC } from "../workload/job.ts";
import type { DemoBroker } from "./broker.ts";

/** The embedded broker as a process of its own, with its log in `folder`. */
export async function startMemory(folder: string): Promise<DemoBroker> {
  const at = `unix:${join(folder, "socket")}`;
  const broker = await startMemoryBroker({ at, dataDir: join(folder, "data") });
  return {
    name: "memory",
    title: "the embedded broker",
    endpoint: { broker: "memory", at },
    // It syncs a declaration before it answers.
    settle: async () => {},
    kill: () => broker.kill(),
    restart: () => broker.restart(),
    proxy: null,
    async cut() {
      await broker.cutConnections();
    },
    async backlog() {
      return [{ where: "queue", name: `${TOPIC}/${GROUP}`, n: (await broker.messages(TOPIC, GROUP)).length }];
    },
    // With its connection a consumer gives back what it had.
    returned: async () => {},
    slackMs: 90_000,
    [Symbol.asyncDispose]: () => broker[Symbol.asyncDispose](),
  };
}
