import { rocketmq } from "@tallymq/rocketmq";
import { startRocket } from "../../../integration-tests/brokers/index.ts";
import { backlogOf, makeTopic } from "../../../integration-tests/brokers/rocketmq/topics.ts";
import type { ComparedBroker } from "../broker.ts";
import { copiesIn } from "./log.ts";

/** RocketMQ in a container, broker and proxy processes of their own, and topics on it. */
export async function startRocketmq(progress: (line: string) => void): Promise<ComparedBroker> {
  const node = await startRocket({ progress });
  return {
    title: "RocketMQ in a container, SYNC_FLUSH",
    url: node.direct,
    queueType: null,
    parts: ["broker", "proxy"],
    async declare(topics) {
      for (const topic of topics) await makeTopic(node, topic);
    },
    kill: (part) => node.killPart(partOf(part)),
    restart: (part) => node.startPart(partOf(part)),
    copies: (topic) => copiesIn(node.names, topic),
    source(topic) {
      const groups = { billing: `${topic}_billing` };
      return {
        broker: rocketmq({
          endpoints: [node.proxied],
          names: [node.names],
          topics: { orders: { topic, groups, declare: false } },
          receiveWait: "1s",
          heartbeat: "1s",
        }),
        cut: () => node.link.cut(),
        empty: async () => (await backlogOf(node, topic, groups.billing)) === 0,
      };
    },
    [Symbol.asyncDispose]: () => node.stop(),
  };
}

function partOf(part: string): "broker" | "proxy" {
  return part === "proxy" ? "proxy" : "broker";
}
