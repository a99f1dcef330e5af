import { access, constants, readFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { must } from "./command.ts";
import type { Progress } from "./progress.ts";

/** Debian's own programs live in sbin too, which is not on every PATH. */
const SYSTEM_FOLDERS = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];

export function systemPath(): string {
  return [...(process.env["PATH"] ?? "").split(delimiter), ...SYSTEM_FOLDERS].join(delimiter);
}

export async function installed(program: string): Promise<boolean> {
  for (const folder of systemPath().split(delimiter)) {
    const there = access(join(folder, program), constants.X_OK).then(
      () => true,
      () => false,
    );
    if (folder !== "" && (await there)) return true;
  }
  return false;
}

/** Installs the Debian packages of those programs that are missing: `{ dockerd: "docker.io" }`. */
export async function ensurePrograms(wanted: Readonly<Record<string, string>>, progress: Progress): Promise<void> {
  const missing: string[] = [];
  for (const [program, name] of Object.entries(wanted)) if (!(await installed(program))) missing.push(name);
  await install([...new Set(missing)], "start Docker (or set DOCKER_HOST), or run this as root", progress);
}

/** @param otherwise What to do where nothing can be installed. */
export async function install(packages: readonly string[], otherwise: string, progress: Progress): Promise<void> {
  if (packages.length === 0) return;
  await refuseElsewhere(packages, otherwise);
  progress(`installing ${packages.join(", ")} from Debian's packages …`);
  const env = { DEBIAN_FRONTEND: "noninteractive", PATH: systemPath() };
  const started = performance.now();
  await must("apt-get", ["update", "-qq"], env);
  // Another apt may run (unattended-upgrades on a fresh machine): wait for it instead of failing.
  const options = ["-y", "-qq", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"];
  await must("apt-get", ["install", ...options, ...packages], env);
  progress(`installed in ${((performance.now() - started) / 1000).toFixed(0)} s`);
}

async function refuseElsewhere(packages: readonly string[], otherwise: string): Promise<void> {
  const release = await readFile("/etc/os-release", "utf8").catch(() => "");
  const debian = /^ID(_LIKE)?=.*debian/m.test(release) && (await installed("apt-get"));
  if (debian && process.getuid?.() === 0) return;
  throw new Error(
    `${packages.join(", ")} is missing here and can be installed only by root on Debian or its like: ${otherwise}`,
  );
}
