import { execFileSync } from "node:child_process";
import { readFileSync, readlinkSync } from "node:fs";
import type { Docker } from "./engine.ts";
import { until } from "./wait.ts";

/** On everything that we make. What a dead process left is found by it, and nothing else is ever removed. */
export const OWNER_LABEL = "tally.owner";
/** Process numbers mean something only inside one pid namespace: leftovers of another one are not ours to judge. */
export const NAMESPACE_LABEL = "tally.pid-namespace";

export type Labels = Readonly<Record<string, string>>;

/** `pid-start-boot`: a number may be given again, a start time too after a reboot, all three never. */
export function ownerOf(pid: number): string | null {
  const start = startTime(pid);
  return start === null ? null : `${pid}-${start}-${bootId()}`;
}

export function ownerLabels(pid: number = process.pid): Labels {
  return { [OWNER_LABEL]: ownerOf(pid) ?? `${pid}-gone`, [NAMESPACE_LABEL]: pidNamespace() };
}

/** Whether the process that wrote these labels is gone. Labels that we cannot read belong to nobody we may judge. */
export function isOrphan(labels: Labels): boolean {
  const owner = labels[OWNER_LABEL];
  if (owner === undefined || labels[NAMESPACE_LABEL] !== pidNamespace()) return false;
  const pid = Number(owner.split("-")[0]);
  return Number.isInteger(pid) && ownerOf(pid) !== owner;
}

/** Removes containers, then networks, whose starting process is dead. Answers how many. */
export async function removeLeftovers(docker: Docker): Promise<number> {
  const filters = { label: [OWNER_LABEL] };
  const containers = (await docker.listContainers({ all: true, filters })).filter((found) => isOrphan(found.Labels));
  await Promise.all(containers.map((found) => removeContainer(docker, found.Id)));
  const networks = (await docker.listNetworks({ filters })).filter((found) => isOrphan(found.Labels ?? {}));
  await Promise.all(networks.map((found) => removeNetwork(docker, found.Id)));
  return containers.length + networks.length;
}

/** Removes a container with its files, in whatever state it is; resolves when it is gone. */
export async function removeContainer(docker: Docker, id: string): Promise<void> {
  const container = docker.getContainer(id);
  if (await alreadyGone(container.remove({ force: true, v: true }))) return;
  await until(`container ${id.slice(0, 12)} to be gone`, 30_000, () =>
    container.inspect().then(
      () => false,
      (error: { statusCode?: number }) => error.statusCode === 404,
    ),
  );
}

export async function removeNetwork(docker: Docker, id: string): Promise<void> {
  await alreadyGone(docker.getNetwork(id).remove());
}

/** Two processes may clean at once: gone (404) and being removed (409: answers false) are both what was wanted. */
async function alreadyGone(removal: Promise<unknown>): Promise<boolean> {
  try {
    await removal;
    return true;
  } catch (error) {
    const status = (error as { statusCode?: number }).statusCode;
    if (status !== 404 && status !== 409) throw error;
    return status === 404;
  }
}

function startTime(pid: number): string | null {
  try {
    if (process.platform !== "linux") {
      return execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" }).replace(/\W+/g, "_");
    }
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // The second field is the program's name in brackets and may hold spaces; the start is the 22nd of all.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return fields[0] === "Z" ? null : (fields[19] ?? null);
  } catch {
    return null;
  }
}

function bootId(): string {
  try {
    return readFileSync("/proc/sys/kernel/random/boot_id", "utf8").slice(0, 8);
  } catch {
    return "boot";
  }
}

function pidNamespace(): string {
  try {
    return readlinkSync("/proc/self/ns/pid");
  } catch {
    return "host";
  }
}
