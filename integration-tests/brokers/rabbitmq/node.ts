import { randomBytes } from "node:crypto";
import { BrokerContainer, type ContainerHandle, type ContainerPlan } from "../engine/container.ts";
import { startProxy, type Proxy } from "../proxy/proxy.ts";
import { RabbitAdmin } from "./admin.ts";
import { enabledPlugins, RABBITMQ_CONF, START_SCRIPT } from "./config.ts";
import { type TlsListener, tlsConfig, tlsFiles } from "./tls.ts";
import { handshake } from "./handshake.ts";

const HANDSHAKE_MS = 60_000;

export interface NodePlan {
  readonly image: string;
  readonly name: string;
  readonly cookie: string;
  readonly network: string | null;
  /** Lines of rabbitmq.conf after ours; a later line wins. */
  readonly config: string;
  /** A second listener; null: none. */
  readonly tls: TlsListener | null;
  /** Beside the management. */
  readonly plugins: readonly string[];
  /** For what the configuration names. */
  readonly files: ContainerPlan["files"];
}

/** Everything that another process needs to reach the same node. */
export interface RabbitHandle {
  readonly container: ContainerHandle;
  readonly vhost: string;
}

/** One RabbitMQ process, alone or in a cluster. */
export class RabbitNode implements AsyncDisposable {
  readonly admin: RabbitAdmin;
  readonly vhost: string;
  readonly #container: BrokerContainer;
  readonly #proxies = new Set<Proxy>();
  readonly #owned: boolean;

  private constructor(container: BrokerContainer, vhost: string, owned: boolean) {
    this.#container = container;
    this.vhost = vhost;
    this.admin = new RabbitAdmin(container, vhost, () => this.url);
    this.#owned = owned;
  }

  static async start(plan: NodePlan): Promise<RabbitNode> {
    const container = await BrokerContainer.start({
      image: plan.image,
      name: plan.name,
      ports: plan.tls === null ? [5672, 15672] : [5672, 15672, 5671],
      entrypoint: ["/bin/sh", "/tally/start.sh"],
      environment: {
        TALLY_ERLANG_COOKIE: plan.cookie,
        // Idle schedulers must not spin: tests run several brokers on few cores.
        RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS: "+sbwt none +sbwtdcpu none +sbwtdio none",
      },
      files: [
        { target: "/tally/start.sh", content: START_SCRIPT, mode: 0o755 },
        {
          target: "/etc/rabbitmq/rabbitmq.conf",
          content: `${RABBITMQ_CONF}${tlsConfig(plan.tls)}${plan.config}\n`,
          mode: 0o644,
        },
        ...tlsFiles(plan.tls),
        ...plan.files,
        { target: "/etc/rabbitmq/enabled_plugins", content: enabledPlugins(plan.plugins), mode: 0o644 },
      ],
      labels: { "tally.broker": "rabbitmq" },
      network: plan.network,
      readyLine: /Server startup complete/,
      readyWithin: 120_000,
    });
    const node = new RabbitNode(container, "/", true);
    await node.#ready();
    return node;
  }

  /** The same node for a process that did not start it; disposing it ends its proxies only. */
  static async attach(handle: RabbitHandle): Promise<RabbitNode> {
    return new RabbitNode(await BrokerContainer.attach(handle.container), handle.vhost, false);
  }

  get handle(): RabbitHandle {
    return { container: this.#container.handle, vhost: this.vhost };
  }

  /** Host name in its network, and the part after `rabbit@` of its Erlang name. */
  get name(): string {
    return this.#container.handle.name;
  }

  get port(): number {
    return this.#container.hostPort;
  }

  /** Of the TLS listener. @throws Error without one */
  get tlsPort(): number {
    const port = this.#container.handle.hostPorts[2];
    if (port === undefined) throw new Error(`${this.name} has no TLS listener`);
    return port;
  }

  /** Straight to the node. Through a proxy: `node.urlVia(proxy)`. */
  get url(): string {
    return this.#urlAt(this.port);
  }

  /** The management API, with the guest's credentials. */
  get managementUrl(): string {
    return `http://guest:guest@127.0.0.1:${this.#container.handle.hostPorts[1]}`;
  }

  urlVia(proxy: Proxy): string {
    return this.#urlAt(proxy.port);
  }

  /** A new proxy in front of this node; it ends with the node. */
  async proxy(): Promise<Proxy> {
    const proxy = await startProxy(this.port);
    this.#proxies.add(proxy);
    return proxy;
  }

  /** kill -9. Data stays. */
  async kill(): Promise<void> {
    await this.#container.kill();
  }

  /** After `kill()`: the same port, the same data; resolves when it serves AMQP again. */
  async start(): Promise<void> {
    await this.#container.start();
    await this.#ready();
  }

  async killAndRestart(): Promise<void> {
    await this.kill();
    await this.start();
  }

  /** Freezes the broker as SIGSTOP does: connections stay open, no verdict comes. */
  async pause(): Promise<void> {
    await this.#container.pause();
  }

  async unpause(): Promise<void> {
    await this.#container.unpause();
  }

  async state(): Promise<"running" | "paused" | "dead"> {
    return await this.#container.state();
  }

  async logs(): Promise<string> {
    return await this.#container.logs();
  }

  /** Removes the container with its data. */
  async stop(): Promise<void> {
    await Promise.all([...this.#proxies].map((proxy) => proxy.close()));
    this.#proxies.clear();
    if (this.#owned) await this.#container.remove();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #ready(): Promise<void> {
    await handshake(`amqp://guest:guest@127.0.0.1:${this.port}`, HANDSHAKE_MS);
  }

  #urlAt(port: number): string {
    const path = this.vhost === "/" ? "" : `/${encodeURIComponent(this.vhost)}`;
    return `amqp://guest:guest@127.0.0.1:${port}${path}`;
  }
}

/** Names of containers are unique for an engine, not only for a run. */
export function uniqueName(stem: string): string {
  return `${stem}-${randomBytes(4).toString("hex")}`;
}
