import { BrokerContainer, type ContainerHandle } from "../engine/container.ts";
import { until } from "../engine/wait.ts";
import { startProxy, type Proxy } from "../proxy/proxy.ts";
import { registered } from "./admin.ts";
import { BEGIN_SCRIPT, JIT, outOf, pidOf, PORTS, proxyJson, RUN_SCRIPT, START_SCRIPT, upWords } from "./config.ts";
import { handshake } from "./handshake.ts";
import { type Secure, secureBroker, secureFiles } from "./secure.ts";
import {
  brokerConf,
  type BrokerPart,
  brokerPortAt,
  BROKERS,
  namesConf,
  ownPorts,
  type Part,
  type Shape,
} from "./shapes.ts";

const READY_MS = 120_000;

export interface RocketNodePlan {
  readonly image: string;
  readonly name: string;
  readonly config: string;
  readonly shape: Shape;
  readonly secure: Secure | null;
  readonly jit: keyof typeof JIT;
}

/** A name server, brokers and a proxy in one container, with a TCP proxy in front of RocketMQ's. */
export class RocketNode implements AsyncDisposable {
  /** What clients that came by `proxied` go through. */
  readonly link: Proxy;
  readonly #container: BrokerContainer;
  readonly #plan: RocketNodePlan;

  private constructor(plan: RocketNodePlan, container: BrokerContainer, link: Proxy) {
    this.#plan = plan;
    this.#container = container;
    this.link = link;
  }

  static async start(plan: RocketNodePlan): Promise<RocketNode> {
    const at: { container: BrokerContainer | null } = { container: null };
    const link = await startProxy(() => at.container?.handle.hostPorts[1] ?? 0);
    const { shape, secure } = plan;
    try {
      at.container = await BrokerContainer.start({
        image: plan.image,
        name: plan.name,
        ports: [PORTS.names, PORTS.proxy, ...ownPorts(shape)],
        entrypoint: ["/bin/sh", "/tally/start.sh", ...BROKERS[shape]],
        environment: { TALLY_TLS: secure === null ? "permissive" : "enforcing", TALLY_JIT: JIT[plan.jit] },
        files: [
          { target: "/tally/start.sh", content: START_SCRIPT, mode: 0o755 },
          { target: "/tally/begin.sh", content: BEGIN_SCRIPT, mode: 0o755 },
          { target: "/tally/run.sh", content: RUN_SCRIPT, mode: 0o755 },
          { target: "/tally/names.conf", content: namesConf(shape), mode: 0o644 },
          ...BROKERS[shape].map((part) => ({
            target: `/tally/${part}.conf`,
            content: brokerConf(shape, part, secureBroker(secure) + plan.config),
            mode: 0o644,
          })),
          { target: "/tally/proxy.json", content: proxyJson(secure), mode: 0o644 },
          ...secureFiles(secure),
        ],
        labels: { "tally.broker": "rocketmq" },
        network: null,
        readyLine: /RocketMQ is up/,
        readyWithin: READY_MS,
      });
      const node = new RocketNode(plan, at.container, link);
      await node.ready();
      return node;
    } catch (error) {
      await at.container?.remove();
      await link.close();
      throw error;
    }
  }

  get handle(): ContainerHandle {
    return this.#container.handle;
  }

  /** `host:port` of RocketMQ's proxy, straight. */
  get direct(): string {
    return `127.0.0.1:${this.handle.hostPorts[1]}`;
  }

  /** `host:port` of RocketMQ's proxy, through `link`. */
  get proxied(): string {
    return `127.0.0.1:${this.link.port}`;
  }

  /** `host:port` of the name server. */
  get names(): string {
    return `127.0.0.1:${this.handle.hostPorts[0]}`;
  }

  /** `host:port` of each broker: who is master says the name server. */
  get brokers(): ReadonlyMap<BrokerPart, string> {
    const { hostPorts } = this.handle;
    return new Map(BROKERS[this.#plan.shape].map((part) => [part, `127.0.0.1:${hostPorts[brokerPortAt(part) - 1]}`]));
  }

  /** The broker that takes writes now, by the name server's word; null: there is none. */
  async master(): Promise<BrokerPart | null> {
    const address = (await registered(this.names)).get("0");
    return [...this.brokers].find(([, at]) => at === address)?.[0] ?? null;
  }

  /** So many brokers are registered: master and replicas. */
  async replicas(): Promise<number> {
    return (await registered(this.names)).size;
  }

  /** kill -9 of all that runs there. Data stays. */
  async kill(): Promise<void> {
    await this.#container.kill();
  }

  /** After `kill()`: the same ports, the same data; resolves when it serves again. */
  async start(): Promise<void> {
    await this.#container.start();
    await this.ready();
  }

  /** kill -9 of one process; the others go on. */
  async killPart(part: Part): Promise<void> {
    await this.shell(`kill -9 "$(cat ${pidOf(part)})"`);
  }

  /** After `killPart()`. Resolves when it says that it is up; for a broker, when name server and proxy have found it again. */
  async startPart(part: Part): Promise<void> {
    await this.shell(`sh /tally/begin.sh ${part}`);
    await until(`${part} of RocketMQ to be up`, READY_MS, async () =>
      (await this.shell(`cat ${outOf(part)}`)).includes(upWords(part)),
    );
    const address = part === "names" || part === "proxy" ? undefined : this.brokers.get(part);
    // The proxy goes on by what it knew: it would be satisfied with a broker that is lost to it some seconds later.
    if (address !== undefined)
      await until(`${part} of RocketMQ to be registered`, READY_MS, async () =>
        [...(await registered(this.names)).values()].includes(address),
      );
    await this.ready();
  }

  /** Runs a line of shell in the container. */
  async shell(line: string): Promise<string> {
    return await this.#container.exec(["sh", "-c", line]);
  }

  async logs(): Promise<string> {
    return await this.#container.logs();
  }

  /** The proxy takes a message, and the broker stores it. */
  async ready(): Promise<void> {
    const { secure } = this.#plan;
    await handshake(this.direct, READY_MS, secure);
  }

  /** Removes the container with its data. */
  async stop(): Promise<void> {
    await this.link.close();
    await this.#container.remove();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }
}
