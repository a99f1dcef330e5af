import { join } from "node:path";
import { type AdminPort, TallyError } from "@tallymq/core/spi";
import { startMemoryBroker } from "@tallymq/testkit";
import { freePort } from "../brokers/engine/port.ts";
import { type Proxy, startKafka, startProxy, startRabbit } from "../brokers/index.ts";
import { brokerAt, type Endpoint } from "../workload/endpoint.ts";
import { host } from "../workload/host.ts";

export const BROKERS = ["memory", "rabbitmq", "kafka"] as const;
export type BrokerName = (typeof BROKERS)[number];

/** How a run's publishers reach the broker: its own, so that an outage is theirs alone. */
export interface Way extends AsyncDisposable {
  readonly endpoint: Endpoint;
  /** Ends their connections, and lets none in until `heal()`. */
  refuse(): Promise<void>;
  heal(): Promise<void>;
}

/** One broker for all runs of the matrix: each has topics of its own, and a way of its own for its publishers. */
export interface Broker extends AsyncDisposable {
  readonly name: BrokerName;
  readonly endpoint: Endpoint;
  /** Keeps messages until later. */
  readonly delays: boolean;
  /** @param outage Whether it is going to be refused. */
  way(outage: boolean): Promise<Way>;
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
      const way = async (): Promise<Way> => through(await startProxy(port), (proxy) => at(proxy.port));
      return await withAdmin(name, at(port), way, process);
    }
    case "rabbitmq": {
      const node = await startRabbit({ progress });
      const at = (url: string): Endpoint => ({ broker: "rabbitmq", url });
      const way = async (): Promise<Way> => through(await node.proxy(), (proxy) => at(node.urlVia(proxy)));
      return await withAdmin(name, at(node.url), way, node);
    }
    case "kafka": {
      const node = await startKafka({ progress });
      const at = (address: string): Endpoint => ({ broker: "kafka", brokers: [address] });
      return await withAdmin(name, at(node.direct), turns(node.proxy, at(node.proxied), at(node.direct)), node);
    }
  }
}

function through(proxy: Proxy, endpoint: (proxy: Proxy) => Endpoint): Way {
  return { ...outages(proxy), endpoint: endpoint(proxy), [Symbol.asyncDispose]: () => proxy.close() };
}

/** A broker that tells clients where it is has one proxy for all: runs with an outage take turns, the others go past it. */
function turns(proxy: Proxy, proxied: Endpoint, direct: Endpoint): Broker["way"] {
  let last: Promise<void> = Promise.resolve();
  return async (outage) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    if (!outage) return { ...outages(proxy), endpoint: direct, [Symbol.asyncDispose]: () => Promise.resolve() };
    const before = last;
    last = promise;
    await before;
    const dispose = async (): Promise<void> => {
      await proxy.heal();
      resolve();
    };
    return { ...outages(proxy), endpoint: proxied, [Symbol.asyncDispose]: dispose };
  };
}

function outages(proxy: Proxy): Pick<Way, "refuse" | "heal"> {
  const refuse = async (): Promise<void> => {
    await proxy.refuse();
    proxy.cut();
  };
  return { refuse, heal: () => proxy.heal() };
}

/** Kafka's words for a topic that nobody has made. */
const NOT_THERE = /does not host this topic/;

async function withAdmin(
  name: BrokerName,
  endpoint: Endpoint,
  way: Broker["way"],
  process: AsyncDisposable,
): Promise<Broker> {
  const broker = await brokerAt(endpoint);
  const transport = broker.open({ service: "matrix", run: "matrix", clock: host.clock, random: host.random });
  const admin: AdminPort = transport.admin;
  return {
    name,
    endpoint,
    delays: transport.traits.longestDelay > 0,
    way,
    async backlog(topic, group) {
      for (let tries = 1; ; tries++) {
        try {
          return await admin.backlog(topic, group, AbortSignal.timeout(10_000));
        } catch (error) {
          if (!TallyError.is(error)) throw error;
          if (error.code === "topology" || NOT_THERE.test(error.message)) return 0;
          // All runs ask by one client, and whoever finds it broken ends it for the others.
          if (!error.retryable || tries === 5) throw error;
        }
      }
    },
    async [Symbol.asyncDispose]() {
      await transport[Symbol.asyncDispose]();
      await process[Symbol.asyncDispose]();
    },
  };
}
