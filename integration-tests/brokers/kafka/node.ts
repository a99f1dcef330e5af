import { randomBytes } from "node:crypto";
import { BrokerContainer, type ContainerHandle } from "../engine/container.ts";
import { startProxy, type Proxy } from "../proxy/proxy.ts";
import { LOG4J, PORTS, serverProperties, START_SCRIPT } from "./config.ts";
import { handshake } from "./handshake.ts";
import { scramUsers, SECURE, type SecureListeners, secureFiles, secureLines } from "./secure.ts";

const HANDSHAKE_MS = 60_000;

export interface KafkaNodePlan {
  readonly image: string;
  readonly name: string;
  /** 22 characters of base64url, the same for all nodes of a cluster. */
  readonly cluster: string;
  readonly node: number;
  readonly voters: string;
  readonly nodes: number;
  readonly network: string | null;
  readonly secure: SecureListeners | null;
  readonly config: string;
}

/** One Kafka process, broker and controller, alone or in a cluster, with a proxy in front of one of its listeners. */
export class KafkaNode implements AsyncDisposable {
  /** Clients that came by `proxied` are told of this address only. */
  readonly proxy: Proxy;
  readonly #container: BrokerContainer;
  readonly #alone: boolean;

  private constructor(container: BrokerContainer, proxy: Proxy, alone: boolean) {
    this.#container = container;
    this.proxy = proxy;
    this.#alone = alone;
  }

  static async start(plan: KafkaNodePlan): Promise<KafkaNode> {
    const at: { container: BrokerContainer | null } = { container: null };
    const proxy = await startProxy(() => at.container?.handle.hostPorts[1] ?? 0);
    try {
      at.container = await BrokerContainer.start({
        image: plan.image,
        name: plan.name,
        ports: [PORTS.direct, PORTS.proxied, ...(plan.secure === null ? [] : [PORTS.login, PORTS.mutual])],
        entrypoint: ["/bin/sh", "/tally/start.sh"],
        environment: {
          TALLY_CLUSTER: plan.cluster,
          TALLY_PROXY_PORT: String(proxy.port),
          TALLY_SCRAM_USERS: scramUsers(plan.secure),
        },
        files: [
          { target: "/tally/start.sh", content: START_SCRIPT, mode: 0o755 },
          {
            target: "/tally/server.properties",
            content: serverProperties({
              ...plan,
              extra: plan.secure === null ? { listeners: "", advertised: "", protocols: "" } : SECURE,
              more: `${secureLines(plan.secure)}${plan.config}`,
            }),
            mode: 0o644,
          },
          ...secureFiles(plan.secure),
          { target: "/tally/log4j2.properties", content: LOG4J, mode: 0o644 },
        ],
        labels: { "tally.broker": "kafka" },
        network: plan.network,
        readyLine: /Kafka Server started/,
        readyWithin: 120_000,
      });
      const node = new KafkaNode(at.container, proxy, plan.nodes === 1);
      if (plan.nodes === 1) await node.ready();
      return node;
    } catch (error) {
      await at.container?.remove();
      await proxy.close();
      throw error;
    }
  }

  get handle(): ContainerHandle {
    return this.#container.handle;
  }

  get name(): string {
    return this.#container.handle.name;
  }

  /** `host:port`, straight to the node. */
  get direct(): string {
    return `127.0.0.1:${this.#container.hostPort}`;
  }

  /** `host:port` of the proxy. */
  get proxied(): string {
    return `127.0.0.1:${this.proxy.port}`;
  }

  /** `host:port` of the listener that asks for user and password, over TLS. */
  get login(): string {
    return `127.0.0.1:${this.#container.handle.hostPorts[2]}`;
  }

  /** `host:port` of the listener that asks for a client's certificate. */
  get mutual(): string {
    return `127.0.0.1:${this.#container.handle.hostPorts[3]}`;
  }

  /** kill -9. Data stays. */
  async kill(): Promise<void> {
    await this.#container.kill();
  }

  /**
   * After `kill()`: the same ports, the same data; resolves when it serves again. In a cluster that needs one more node
   * alive: of three dead ones start two at once.
   */
  async start(): Promise<void> {
    await this.#container.start();
    if (this.#alone) await this.ready();
  }

  /** Freezes the broker as SIGSTOP does. */
  async pause(): Promise<void> {
    await this.#container.pause();
  }

  async unpause(): Promise<void> {
    await this.#container.unpause();
  }

  /** Runs one of Kafka's own tools in the container. @param main its class, like `org.apache.kafka.tools.GetOffsetShell` */
  async tool(main: string, args: readonly string[]): Promise<string> {
    return await this.#container.exec(["java", "-XX:TieredStopAtLevel=1", "-cp", "/opt/kafka/libs/*", main, ...args]);
  }

  /** Where programs in the container find the broker. */
  get inside(): string {
    return `${this.name}:${PORTS.internal}`;
  }

  /** Runs a line of shell in the container. */
  async shell(line: string): Promise<string> {
    return await this.#container.exec(["sh", "-c", line]);
  }

  async state(): Promise<"running" | "paused" | "dead"> {
    return await this.#container.state();
  }

  async logs(): Promise<string> {
    return await this.#container.logs();
  }

  /** A client can ask it for its cluster, and has all nodes as an answer. */
  async ready(nodes = 1): Promise<void> {
    await handshake(this.direct, nodes, HANDSHAKE_MS);
  }

  /** Removes the container with its data. */
  async stop(): Promise<void> {
    await this.proxy.close();
    await this.#container.remove();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}

/** Kafka's tools take an id that begins with a dash for an option. */
export function newClusterId(): string {
  return randomBytes(16).toString("base64url").replace(/^-/, "A");
}
