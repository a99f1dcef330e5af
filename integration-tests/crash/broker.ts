import { join } from "node:path";
import { type AdminPort, TallyError } from "@tallymq/core/spi";
import { startMemoryBroker } from "@tallymq/testkit";
import { freePort } from "../brokers/engine/port.ts";
import { type Proxy, startProxy, startRabbit } from "../brokers/index.ts";
import { brokerAt, type Endpoint } from "../workload/endpoint.ts";
import { host } from "../workload/host.ts";

export const BROKERS = ["memory", "rabbitmq"] as const;
export type BrokerName = (typeof BROKERS)[number];

/** One broker for all runs of the matrix: each has topics of its own, and a proxy of its own for its publishers. */
export interface Broker extends AsyncDisposable {
  readonly name: BrokerName;
  readonly endpoint: Endpoint;
  through(proxy: Proxy): Endpoint;
  proxy(): Promise<Proxy>;
  /** Messages of a group that nobody has settled: exact while the group has no consumers. None where there is no such topic. */
  backlog(topic: string, group: string): Promise<number>;
}

/** @param folder for the data of one that keeps them itself */
export async function startBroker(name: BrokerName, folder: string, progress: (line: string) => void): Promise<Broker> {
  switch (name) {
    case "memory": {
      const port = await freePort();
      const process = await startMemoryBroker({ at: `127.0.0.1:${port}`, dataDir: join(folder, "memory") });
      const at = (on: number): Endpoint => ({ broker: "memory", at: `127.0.0.1:${on}` });
      return await withAdmin(
        name,
        at(port),
        (proxy) => at(proxy.port),
        () => startProxy(port),
        process,
      );
    }
    case "rabbitmq": {
      const node = await startRabbit({ progress });
      const at = (url: string): Endpoint => ({ broker: "rabbitmq", url });
      const through = (proxy: Proxy): Endpoint => at(node.urlVia(proxy));
      return await withAdmin(name, at(node.url), through, () => node.proxy(), node);
    }
  }
}

async function withAdmin(
  name: BrokerName,
  endpoint: Endpoint,
  through: Broker["through"],
  proxy: Broker["proxy"],
  process: AsyncDisposable,
): Promise<Broker> {
  const broker = await brokerAt(endpoint);
  const transport = broker.open({ service: "matrix", run: "matrix", clock: host.clock, random: host.random });
  const admin: AdminPort = transport.admin;
  return {
    name,
    endpoint,
    through,
    proxy,
    async backlog(topic, group) {
      try {
        return await admin.backlog(topic, group, AbortSignal.timeout(10_000));
      } catch (error) {
        if (TallyError.is(error) && error.code === "topology") return 0;
        throw error;
      }
    },
    async [Symbol.asyncDispose]() {
      await transport[Symbol.asyncDispose]();
      await process[Symbol.asyncDispose]();
    },
  };
}
