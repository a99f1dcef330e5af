import { rabbitmq } from "@tallymq/rabbitmq";
import { startRabbit } from "../../../integration-tests/brokers/index.ts";
import type { ComparedBroker } from "../broker.ts";
import { copiesIn, declareAll } from "./queues.ts";

/** RabbitMQ in a container, and durable quorum queues on it. */
export async function startRabbitmq(progress: (line: string) => void): Promise<ComparedBroker> {
  const node = await startRabbit({ progress });
  const proxy = await node.proxy();
  return {
    title: "RabbitMQ in a container, durable quorum queues",
    url: node.url,
    queueType: "quorum",
    parts: ["broker"],
    async declare(queues) {
      await declareAll(node.url, queues);
      await node.admin.flushDeclares();
    },
    kill: () => node.kill(),
    restart: () => node.start(),
    copies: (queue) => copiesIn(node.url, queue),
    source: (queue) => ({
      broker: rabbitmq({ urls: [node.urlVia(proxy)], topics: { orders: { queue, declare: false } } }),
      cut: () => proxy.cut(),
      empty: async () => (await node.admin.ready(queue)) === 0,
    }),
    [Symbol.asyncDispose]: () => node.stop(),
  };
}
