import { until } from "../../brokers/engine/wait.ts";
import { startRocket } from "../../brokers/index.ts";
import { returned } from "../../brokers/rocketmq/returned.ts";
import { asking } from "../../brokers/rocketmq/topics.ts";
import { INVISIBLE_MS } from "../../workload/endpoint.ts";
import { GROUP, TOPIC } from "../workload/job.ts";
import type { DemoBroker } from "./broker.ts";

/** A real RocketMQ in a container: name server, broker and proxy. Clients reach the proxy through one of ours. */
export async function startRocketmq(progress: (line: string) => void): Promise<DemoBroker> {
  const node = await startRocket({ progress });
  const endpoint = { broker: "rocketmq", endpoints: [node.proxied], names: [node.names] } as const;
  return {
    name: "rocketmq",
    title: "RocketMQ in a container",
    endpoint,
    // Topics and groups are written down before it answers.
    settle: async () => {},
    kill: () => node.killPart("broker"),
    restart: () => node.startPart("broker"),
    proxy: { kill: () => node.killPart("proxy"), restart: () => node.startPart("proxy") },
    async cut() {
      node.link.cut();
    },
    async backlog() {
      // Nobody's consumer: what the broker itself says of the group, on all that it reads.
      await using transport = asking(node);
      const { admin } = transport;
      const ask = (): Promise<number> => admin.backlog(TOPIC, GROUP, AbortSignal.timeout(10_000));
      const n = await until("the broker to say what it has left", 30_000, ask);
      return [{ where: "queue", name: TOPIC, n }];
    },
    // A request for messages that its consumer has given up stays with the proxy, for a second here. What it is handed then is
    // nobody's, as is what a killed consumer had.
    returned: () => returned(node, INVISIBLE_MS),
    // Started again three times, for up to half a minute each on a busy machine.
    slackMs: 300_000,
    [Symbol.asyncDispose]: () => node.stop(),
  };
}
