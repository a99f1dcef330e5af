import { type Clock, type HostPort, readHostPort, sleep, TallyError } from "@tallymq/core/spi";
import type { ResolvedCredentials } from "../options.ts";
import { RemotingClient, RemotingError } from "./client.ts";
import { readJson } from "./frames.ts";
import { Master, readProperties, type TopicKind } from "./master.ts";
import type { Dial } from "./socket.ts";

/** Codes of requests. */
const ASK = { route: 105, cluster: 106, controllerConfig: 1010 } as const;

/** One broker name: a master and its replicas. */
export interface BrokerOnNames {
  /** Null: at the moment there is none. */
  readonly master: Master | null;
  /** Those that are registered now, the master among them. */
  readonly replicas: number;
}

export interface ClusterOptions {
  readonly names: readonly HostPort[];
  readonly dial: Dial;
  readonly clock: Clock;
  readonly credentials: ResolvedCredentials | null;
  readonly within: number;
}

/** How long a broker takes to tell its name servers of a new topic, at most; and how often they are asked. */
const REGISTERED_MS = 5_000;
const LOOK_MS = 50;

/** Name servers and brokers, as their own admin protocol shows them. Connections are kept, and made anew after a failure. */
export class Cluster {
  readonly #o: ClusterOptions;
  readonly #clients: Map<string, RemotingClient> = new Map();
  #closed = false;

  constructor(options: ClusterOptions) {
    this.#o = options;
  }

  /** Brokers that take writes; at least one. */
  async masters(): Promise<readonly Master[]> {
    const known = [...(await this.brokers()).values()];
    const masters = known.flatMap(({ master }) => master ?? []);
    if (masters.length === 0) throw new Error("the name servers know no broker that takes writes");
    return masters;
  }

  /** What the name servers know, by broker name. */
  async brokers(): Promise<ReadonlyMap<string, BrokerOnNames>> {
    const answer = await this.#names((client) => client.must("the cluster", ASK.cluster, {}));
    const table = (readJson(answer.body) as { brokerAddrTable?: unknown }).brokerAddrTable;
    const brokers = new Map<string, BrokerOnNames>();
    for (const [name, broker] of Object.entries((table ?? {}) as Record<string, { brokerAddrs?: unknown }>)) {
      const addresses = (broker.brokerAddrs ?? {}) as Record<string, unknown>;
      const address = addresses["0"];
      const master = typeof address === "string" ? new Master(name, this.#at(`the address of ${name}`, address)) : null;
      brokers.set(name, { master, replicas: Object.keys(addresses).length });
    }
    return brokers;
  }

  /** Resolves when the name servers know of it: a proxy that asked before would believe for a while that it is not there. */
  async makeTopic(master: Master, topic: string, kind: TopicKind, queues: number): Promise<void> {
    await master.makeTopic(topic, kind, queues);
    const { clock } = this.#o;
    for (const end = clock.now() + REGISTERED_MS; ;) {
      const answer = await this.#names((client) => client.ask(ASK.route, { topic, acceptStandardJsonOnly: "true" }));
      if (answer.code === 0) return;
      if (clock.now() > end) throw new RemotingError(`topic ${topic}`, answer);
      await sleep(clock, LOOK_MS);
    }
  }

  /** Of a controller, which may run within a name server. @param address `host:port`, as a broker has it */
  async controllerSettings(address: string): Promise<ReadonlyMap<string, string>> {
    const controller = this.#at("the address of a controller", address);
    return readProperties((await controller.must("the controller's settings", ASK.controllerConfig, {})).body);
  }

  /** Whoever is in the middle of asking opens no other connection: nobody would close it. */
  close(): void {
    this.#closed = true;
    for (const client of this.#clients.values()) client.close();
    this.#clients.clear();
  }

  /** The first name server that can be reached. */
  async #names<T>(work: (client: RemotingClient) => Promise<T>): Promise<T> {
    let last: unknown = null;
    for (const endpoint of this.#o.names) {
      try {
        return await work(this.#client(endpoint));
      } catch (thrown) {
        if (thrown instanceof RemotingError || this.#closed) throw thrown;
        last = thrown;
      }
    }
    throw last;
  }

  #at(where: string, address: string): RemotingClient {
    return this.#client(readHostPort(where, address, "localhost:10911"));
  }

  #client(at: HostPort): RemotingClient {
    if (this.#closed) throw new TallyError("closed", "the transport is closed");
    let client = this.#clients.get(at.name);
    if (client === undefined || client.over) {
      client = new RemotingClient(at, this.#o);
      this.#clients.set(at.name, client);
    }
    return client;
  }
}
