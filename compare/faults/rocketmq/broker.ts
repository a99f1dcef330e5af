import { rocketmq } from "@tallymq/rocketmq";
import { startRocket } from "../../../integration-tests/brokers/index.ts";
import { asking, makeTopic } from "../../../integration-tests/brokers/rocketmq/topics.ts";
import type { ComparedBroker } from "../broker.ts";
import { GROUP, TOPIC } from "../effects.ts";
import { copiesIn } from "./log.ts";

const WITHIN_MS = 30_000;

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
      const topics = { [TOPIC]: { topic, groups: { [GROUP]: `${topic}_${GROUP}` }, declare: false } };
      return {
        broker: rocketmq({
          endpoints: [node.proxied],
          names: [node.names],
          topics,
          receiveWait: "1s",
          heartbeat: "1s",
        }),
        cut: () => node.link.cut(),
        async empty() {
          await using transport = asking(node, topics);
          return (await transport.admin.backlog(TOPIC, GROUP, AbortSignal.timeout(WITHIN_MS))) === 0;
        },
      };
    },
    [Symbol.asyncDispose]: () => node.stop(),
  };
}

function partOf(part: string): "broker" | "proxy" {
  return part === "proxy" ? "proxy" : "broker";
}
