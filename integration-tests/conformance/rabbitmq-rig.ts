import { setTimeout as sleep } from "node:timers/promises";
import { rabbitmq, type RabbitOptions } from "@tallymq/rabbitmq";
import type { Rig } from "@tallymq/testkit/conformance";
import { connect } from "amqplib";
import type { Proxy, RabbitNode } from "../brokers/index.ts";

/**
 * RabbitMQ 4.0 writes the name of a new quorum queue to disk a moment after it has confirmed the declaration, and also
 * messages. Killed in between, it starts the queue as a new one after the restart ("configured member was not found on
 * this node"): empty, and without ever confirming anything again. That is a fault of the broker; what is asked here is
 * what adapters do.
 */
const UNTIL_QUEUES_ARE_SAFE_MS = 3_000;

/** One RabbitMQ node behind a proxy, with everything that can be done to it. */
export function rabbitRig(node: RabbitNode, proxy: Proxy, options: Partial<RabbitOptions> = {}): Rig {
  const named = `${options.mode ?? ""}${options.queueType === undefined ? "" : `-${options.queueType}`}`;
  let names = 0;
  return {
    name: `rabbitmq(${named})`,
    broker: () => rabbitmq({ urls: [node.urlVia(proxy)], ...options }),
    topic: (stem) => `${stem}-${named}${++names}`,
    limitMs: 30_000,
    quietMs: 300,
    fetch: 0,
    endsWithConnection: true,
    kill: {
      async begin() {
        await sleep(UNTIL_QUEUES_ARE_SAFE_MS);
        await node.kill();
      },
      end: () => node.start(),
    },
    cut: async () => void proxy.cut(),
    // What clients send arrives, what the broker answers does not.
    pause: { begin: async () => proxy.halfOpen("broker"), end: () => proxy.heal() },
    block: { begin: () => node.admin.setAlarm("memory"), end: () => node.admin.clearAlarm("memory") },
    async nack(topic, group) {
      const name = `full-${named}${++names}`;
      const full = async (definition: Readonly<Record<string, unknown>>): Promise<void> =>
        node.admin.setPolicy({ name, pattern: `^${topic.name}[.]${group}$`, definition, applyTo: "queues" });
      // A classic queue takes one setting after the other, and drops its head while it has the length alone.
      if (options.queueType === "classic") await full({ overflow: "reject-publish" });
      await full({ "max-length": 1, overflow: "reject-publish" });
      return () => node.admin.clearPolicy(name);
    },
    foreign: (topic, body) => foreign(node.url, topic, body),
  };
}

/** As a program that has never heard of Tally would do it. */
async function foreign(url: string, exchange: string, body: Uint8Array): Promise<void> {
  const connection = await connect(url);
  connection.on("error", () => {});
  const channel = await connection.createConfirmChannel();
  channel.publish(exchange, "", Buffer.from(body));
  await channel.waitForConfirms();
  await connection.close();
}
