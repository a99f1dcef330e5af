import { startRabbit } from "../../brokers/index.ts";
import type { DemoBroker } from "./broker.ts";

/** A real RabbitMQ in a container. Clients reach it through a proxy, so that their connections can be cut. */
export async function startRabbitmq(progress: (line: string) => void): Promise<DemoBroker> {
  const node = await startRabbit({ progress });
  try {
    const proxy = await node.proxy();
    return {
      name: "rabbitmq",
      title: "RabbitMQ in a container",
      endpoint: { broker: "rabbitmq", url: node.urlVia(proxy) },
      kill: () => node.kill(),
      restart: () => node.start(),
      async cut() {
        proxy.cut();
      },
      async backlog() {
        const queues = await node.admin.queues();
        return queues.map(({ name, messages }) => ({ where: "queue", name, n: messages }) as const);
      },
      [Symbol.asyncDispose]: () => node.stop(),
    };
  } catch (error) {
    await node.stop();
    throw error;
  }
}
