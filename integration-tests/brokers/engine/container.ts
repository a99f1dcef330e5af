import { BoundPorts, GenericContainer, Wait, waitForContainer, type StartedTestContainer } from "testcontainers";
import { until } from "./wait.ts";
import { tail } from "./command.ts";
import { isGone, willMake } from "./cleanup.ts";
import { ensureEngine, type Docker } from "./engine.ts";
import { ownerLabels, removeContainer, type Labels } from "./owner.ts";
import { freePorts } from "./port.ts";

export interface ContainerPlan {
  readonly image: string;
  /** Also its hostname, and its name for the other containers of its network. */
  readonly name: string;
  /**
   * The ports inside; a free loopback port of ours leads to each for as long as the container exists. What runs there
   * finds them in `TALLY_HOST_PORTS`, in the same order with commas between: some brokers tell clients where they are.
   * `"same"`: the port has the same number inside.
   */
  readonly ports: readonly (number | "same")[];
  readonly entrypoint: readonly string[];
  readonly environment: Readonly<Record<string, string>>;
  readonly files: readonly { readonly target: string; readonly content: string; readonly mode: number }[];
  readonly labels: Labels;
  readonly network: string | null;
  /** The log line after which the broker serves. docker-proxy accepts connections long before that. */
  readonly readyLine: RegExp;
  /** Milliseconds until the line must have come. */
  readonly readyWithin: number;
}

/** What another process needs to work on the same container. */
export interface ContainerHandle {
  readonly id: string;
  readonly name: string;
  readonly hostPorts: readonly number[];
  readonly readyLine: string;
  readonly readyWithin: number;
}

/** One broker process in a container, on a host port that it keeps over kills and restarts. */
export class BrokerContainer {
  readonly handle: ContainerHandle;
  readonly #docker: Docker;

  private constructor(docker: Docker, handle: ContainerHandle) {
    this.#docker = docker;
    this.handle = handle;
  }

  /** Creates and starts; resolves after the ready line. A container that fails to come up is removed. */
  static async start(plan: ContainerPlan): Promise<BrokerContainer> {
    const { docker } = await ensureEngine();
    for (let attempt = 1; ; attempt++) {
      willMake(plan.name);
      const hostPorts = await freePorts(plan.ports.length);
      const fresh = new LoopbackContainer(plan, hostPorts);
      try {
        const started = await fresh.startOrDie(docker);
        return new BrokerContainer(docker, handleOf(plan, started, hostPorts));
      } catch (error) {
        const said = await fresh.lastWords(docker);
        await fresh.discard(docker);
        isGone(plan.name);
        const taken = /port is already allocated|address already in use/.test(String(error));
        if (!taken || attempt === 5) throw new Error(`${plan.name} did not start${said}`, { cause: error });
      }
    }
  }

  /** The same container for a process that did not start it. */
  static async attach(handle: ContainerHandle): Promise<BrokerContainer> {
    const { docker } = await ensureEngine();
    return new BrokerContainer(docker, handle);
  }

  /** That of the first of its ports. */
  get hostPort(): number {
    return this.handle.hostPorts[0]!;
  }

  /** SIGKILL to the whole container; its files stay. Resolves when it is dead. */
  async kill(): Promise<void> {
    const container = this.#container();
    const dead = container.wait({ condition: "not-running" });
    dead.catch(() => {}); // awaited below, unless kill throws first
    await container.kill({ signal: "SIGKILL" });
    await dead;
  }

  /** Starts it again, on the same port with the files that it had; resolves after a new ready line. */
  async start(): Promise<void> {
    const { client } = await ensureEngine();
    const container = this.#container();
    // Not since `StartedAt`: a quick program's first lines are older than the engine's note of its start.
    const since = new Date((await container.inspect()).State.FinishedAt);
    await container.start();
    const ready = Wait.forLogMessage(new RegExp(this.handle.readyLine)).withStartupTimeout(this.handle.readyWithin);
    try {
      await waitForContainer(client, container, ready, NO_PORTS, since);
    } catch (error) {
      throw new Error(`${this.handle.name} did not start again${await lastLines(this.#docker, this.handle.id)}`, {
        cause: error,
      });
    }
  }

  /** Freezes every process of the container: sockets stay open, nothing answers. */
  async pause(): Promise<void> {
    await this.#container().pause();
  }

  async unpause(): Promise<void> {
    await this.#container().unpause();
  }

  async state(): Promise<"running" | "paused" | "dead"> {
    const { State } = await this.#container().inspect();
    return State.Paused ? "paused" : State.Running ? "running" : "dead";
  }

  /** Runs a program inside; an exit code other than 0 is an error with its output. */
  async exec(command: readonly string[]): Promise<string> {
    const { client } = await ensureEngine();
    const { exitCode, output } = await client.container.exec(this.#container(), [...command]);
    if (exitCode === 0) return output;
    throw new Error(`${command.join(" ")} ended with ${exitCode} in ${this.handle.name}:\n${tail(output, 12)}`);
  }

  async logs(): Promise<string> {
    return await logText(this.#docker, this.handle.id);
  }

  /** Removes it with its files, in whatever state it is. */
  async remove(): Promise<void> {
    await removeContainer(this.#docker, this.handle.id);
    isGone(this.handle.name);
  }

  #container(): ReturnType<Docker["getContainer"]> {
    return this.#docker.getContainer(this.handle.id);
  }
}

const NO_PORTS = new BoundPorts();

/** testcontainers publishes on all addresses; here every port is the loopback's. */
class LoopbackContainer extends GenericContainer {
  #id: string | null = null;
  readonly #created = Promise.withResolvers<string>();

  constructor(plan: ContainerPlan, hostPorts: readonly number[]) {
    super(plan.image);
    this.withName(plan.name).withHostname(plan.name);
    this.withLabels({ ...plan.labels, ...ownerLabels() });
    this.withEntrypoint([...plan.entrypoint]).withEnvironment({
      ...plan.environment,
      TALLY_HOST_PORTS: hostPorts.join(),
    });
    this.withCopyContentToContainer(plan.files.map((file) => ({ ...file })));
    this.withExposedPorts(
      ...plan.ports.map((port, at) => ({ container: port === "same" ? hostPorts[at]! : port, host: hostPorts[at]! })),
    );
    this.withWaitStrategy(Wait.forLogMessage(plan.readyLine)).withStartupTimeout(plan.readyWithin);
    this.withAutoCleanup(false);
    if (plan.network !== null) this.withNetworkMode(plan.network);
  }

  protected override async beforeContainerCreated(): Promise<void> {
    const bindings = this.hostConfig.PortBindings as Record<string, { HostPort: string }[]>;
    const loopback = Object.entries(bindings).map(([port, hosts]) => [
      port,
      hosts.map((host) => ({ ...host, HostIp: "127.0.0.1" })),
    ]);
    this.hostConfig.PortBindings = Object.fromEntries(loopback);
  }

  protected override async containerCreated(id: string): Promise<void> {
    this.#id = id;
    this.#created.resolve(id);
  }

  /** testcontainers waits 10 s for the ports of a container that is dead already; we hear of its end. */
  async startOrDie(docker: Docker): Promise<StartedTestContainer> {
    const died = this.#created.promise.then(async (id) => {
      const { StatusCode } = (await docker.getContainer(id).wait({ condition: "next-exit" })) as { StatusCode: number };
      throw new Error(`the container ended with ${StatusCode} before it was ready`);
    });
    const started = this.start();
    // Whichever loses the race must not become an unhandled rejection.
    died.catch(() => {});
    started.catch(() => {});
    return await Promise.race([started, died]);
  }

  async lastWords(docker: Docker): Promise<string> {
    return this.#id === null ? "" : await lastLines(docker, this.#id);
  }

  async discard(docker: Docker): Promise<void> {
    if (this.#id !== null) await removeContainer(docker, this.#id);
  }
}

function handleOf(plan: ContainerPlan, started: StartedTestContainer, hostPorts: readonly number[]): ContainerHandle {
  const { name, readyLine, readyWithin } = plan;
  return { id: started.getId(), name, hostPorts, readyLine: readyLine.source, readyWithin };
}

async function lastLines(docker: Docker, id: string): Promise<string> {
  // The engine notes an end before it has written down the last words.
  const words = async (): Promise<string | undefined> => (await logText(docker, id).catch(() => "")) || undefined;
  const text = await until("the last words of a container", 3_000, words).catch(() => "");
  return text === "" ? "" : `; its log ends with:\n${tail(text, 15)}`;
}

/** The engine frames each piece with 8 bytes: stream, three zeros, length. */
async function logText(docker: Docker, id: string): Promise<string> {
  const raw = await docker.getContainer(id).logs({ stdout: true, stderr: true, follow: false });
  const parts: Buffer[] = [];
  for (let at = 0; at + 8 <= raw.length;) {
    const length = raw.readUInt32BE(at + 4);
    parts.push(raw.subarray(at + 8, at + 8 + length));
    at += 8 + length;
  }
  return Buffer.concat(parts).toString("utf8");
}
