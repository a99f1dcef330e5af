import { startRabbit } from "../../brokers/index.ts";
import type { DemoBroker } from "./broker.ts";

/** A real RabbitMQ in a container. Clients reach it through a proxy, so that their connections can be cut. */
export async function startRabbitmq(progress: (line: string) => void): Promise<DemoBroker> {
  const node = await startRabbit({ progress });
  try {
    const proxy = await node.proxy();
    let names: readonly string[] | null = null;
    return {
      name: "rabbitmq",
      title: "RabbitMQ in a container",
      endpoint: { broker: "rabbitmq", url: node.urlVia(proxy) },
      settle: () => node.admin.flushDeclares(),
      kill: () => node.kill(),
      restart: () => node.start(),
      proxy: null,
      async cut() {
        proxy.cut();
      },
      async backlog() {
        // All queues of messages, whoever declared them, but not those by which members of a group hear of each other;
        // their counts in that list may be 5 s old, those of a declare are not.
        names ??= (await node.admin.queues()).filter(({ exclusive }) => !exclusive).map(({ name }) => name);
        return await Promise.all(
          names.map(async (name) => ({ where: "queue", name, n: await node.admin.ready(name) }) as const),
        );
      },
      // With its connection a consumer gives back what it had.
      returned: async () => {},
      slackMs: 90_000,
      [Symbol.asyncDispose]: () => node.stop(),
    };
  } catch (error) {
    await node.stop();
    throw error;
  }
}
