import { getContainerRuntimeClient, type ContainerRuntimeClient } from "testcontainers";
import { dockerHostOf, startDaemon } from "./daemon.ts";
import { withLock } from "./lock.ts";
import { removeLeftovers } from "./owner.ts";
import { ensurePrograms } from "./packages.ts";
import { places } from "./places.ts";
import { answers, candidates } from "./probe.ts";
import { toStderr, type Progress } from "./progress.ts";

export type Docker = ContainerRuntimeClient["container"]["dockerode"];

export interface Engine {
  /** The DOCKER_HOST value that it answers at. */
  readonly host: string;
  /** Whether it is the engine that we started ourselves. */
  readonly own: boolean;
  readonly client: ContainerRuntimeClient;
  readonly docker: Docker;
}

let engine: Promise<Engine> | null = null;

/**
 * The Docker engine of this process: one that answers already, else our own, installed and started when needed.
 * The first call also removes what dead earlier runs left behind. Sets DOCKER_HOST and two TESTCONTAINERS_ variables
 * for this process, since testcontainers reads nothing else.
 */
export function ensureEngine(progress: Progress = toStderr): Promise<Engine> {
  engine ??= find(progress).catch((error: unknown) => {
    engine = null; // a later call may try again
    throw error;
  });
  return engine;
}

async function find(progress: Progress): Promise<Engine> {
  const { host, own } = await locate(progress);
  process.env["DOCKER_HOST"] = host;
  // A /.dockerenv makes testcontainers believe that it runs inside a container and look for a gateway.
  process.env["TESTCONTAINERS_HOST_OVERRIDE"] = "127.0.0.1";
  // Its reaper is one more image to pull; labels and the next start do that work here.
  process.env["TESTCONTAINERS_RYUK_DISABLED"] = "true";
  const client = await getContainerRuntimeClient();
  const docker = client.container.dockerode;
  const removed = await removeLeftovers(docker);
  if (removed > 0) progress(`removed ${removed} leftovers of earlier runs that died`);
  return { host, own, client, docker };
}

async function locate(progress: Progress): Promise<{ host: string; own: boolean }> {
  const at = places();
  const ours = dockerHostOf(at);
  const running = await firstThatAnswers([...candidates(), ours]);
  const set = process.env["DOCKER_HOST"];
  if (set && running !== set) progress(`no engine of this machine answers at DOCKER_HOST (${set})`);
  if (running !== null) return { host: running, own: running === ours };
  const waiting = (): void => progress("another process is starting the Docker engine, waiting for it …");
  return await withLock(at.lock, waiting, async () => {
    if (await answers(ours)) return { host: ours, own: true }; // the holder before us has started it
    await ensurePrograms({ dockerd: "docker.io", iptables: "iptables" }, progress);
    // Where an init system runs, the package has just started its own service: two engines would fight over a bridge.
    const service = await firstThatAnswers(candidates());
    if (service !== null) return { host: service, own: false };
    await startDaemon(at, progress);
    return { host: ours, own: true };
  });
}

async function firstThatAnswers(hosts: readonly string[]): Promise<string | null> {
  for (const host of hosts) if (await answers(host)) return host;
  return null;
}
