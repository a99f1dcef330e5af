import { createNetwork, type ContainerNetwork } from "../engine/network.ts";
import { until } from "../engine/wait.ts";
import { RabbitNode, uniqueName } from "./node.ts";

const SIZE = 3;

/** Three nodes on one network with one Erlang cookie. Kill, pause and proxies belong to the nodes. */
export class RabbitCluster implements AsyncDisposable {
  readonly nodes: readonly RabbitNode[];
  readonly #network: ContainerNetwork;

  private constructor(nodes: readonly RabbitNode[], network: ContainerNetwork) {
    this.nodes = nodes;
    this.#network = network;
  }

  /**
   * The first node comes up alone; the others find it by their configuration and join it while they boot. If all
   * started at once, two of them could miss each other and found clusters of their own.
   */
  static async start(image: string, config: string): Promise<RabbitCluster> {
    const stem = uniqueName("tally-rabbits");
    const network = await createNetwork(stem);
    const names = Array.from({ length: SIZE }, (_, index) => `${stem}-${index + 1}`);
    const [seed, ...others] = names as [string, ...string[]];
    const plan = { image, cookie: stem, network: network.name, tls: null, plugins: [], files: [] };
    const nodes: RabbitNode[] = [];
    try {
      nodes.push(await RabbitNode.start({ ...plan, name: seed, config }));
      const joining = others.map(async (name) => {
        nodes.push(await RabbitNode.start({ ...plan, name, config: config + joinConfig(seed, name) }));
      });
      const failed = (await Promise.allSettled(joining)).find((result) => result.status === "rejected");
      if (failed !== undefined) throw failed.reason;
      nodes.sort((a, b) => a.name.localeCompare(b.name));
      const cluster = new RabbitCluster(nodes, network);
      await Promise.all(nodes.map((node) => cluster.#joined(node)));
      return cluster;
    } catch (error) {
      await Promise.all(nodes.map((node) => node.stop()));
      await network.remove();
      throw error;
    }
  }

  /** One URL a node, in the order of `nodes`. */
  get urls(): readonly string[] {
    return this.nodes.map((node) => node.url);
  }

  /** The running node that leads a quorum queue; waits up to 90 s while there is none (about 10 s after a frozen one; longer on a busy machine). */
  async leaderOf(queue: string): Promise<RabbitNode> {
    return await until(`a leader of ${queue}`, 90_000, async () => {
      const running = await this.#running();
      // Each reads its own table, and one that has just been started may have nothing in it.
      for (const node of running) {
        const name = await node.admin.leaderOf(queue);
        const leader = running.find((one) => erlangName(one) === name);
        if (leader !== undefined) return leader;
      }
      return undefined;
    });
  }

  /** The running nodes that do not lead it. */
  async followersOf(queue: string): Promise<readonly RabbitNode[]> {
    const leader = await this.leaderOf(queue);
    return (await this.#running()).filter((node) => node !== leader);
  }

  /** Removes the nodes with their data, then the network. */
  async stop(): Promise<void> {
    await Promise.all(this.nodes.map((node) => node.stop()));
    await this.#network.remove();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.stop();
  }

  async #running(): Promise<readonly RabbitNode[]> {
    const states = await Promise.all(this.nodes.map((node) => node.state()));
    return this.nodes.filter((_, index) => states[index] === "running");
  }

  async #joined(node: RabbitNode): Promise<void> {
    const expected = this.nodes.map(erlangName).sort().join();
    await until(
      `${node.name} to see all nodes`,
      60_000,
      async () => (await node.admin.runningNodes()).join() === expected,
    );
  }
}

function erlangName(node: RabbitNode): string {
  return `rabbit@${node.name}`;
}

function joinConfig(seed: string, self: string): string {
  return `
cluster_formation.peer_discovery_backend = classic_config
cluster_formation.classic_config.nodes.1 = rabbit@${seed}
cluster_formation.classic_config.nodes.2 = rabbit@${self}
`;
}
