import { spawnSync } from "node:child_process";

/** A small file system of its own, since only that is really full or really read-only. Needs root. */
export function mount(type: string, options: string, on: string): void {
  const { status, stderr, error } = spawnSync("mount", ["-t", type, "-o", options, type, on], { encoding: "utf8" });
  if (status !== 0)
    throw new Error(`this test mounts a small file system, which needs root: ${stderr ?? String(error)}`);
}

export function unmount(on: string): void {
  spawnSync("umount", ["-l", on]);
}
