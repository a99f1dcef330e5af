import { spawn, type ChildProcess } from "node:child_process";
import { fileURLToPath } from "node:url";

const mine = new Set<string>();
let guard: ChildProcess | null = null;

/**
 * Notes a container or network before it is made, and sees to it that a guard watches: a detached process at the other
 * end of a pipe. However we end (signal, exit, crash, kill -9), the kernel closes the pipe, and the guard removes what
 * is labelled as ours. No signal listener of ours stands in a program's way. If the guard dies too, the next start
 * removes it (owner.ts).
 */
export function willMake(name: string): void {
  mine.add(name);
  if (guard !== null) return;
  const file = fileURLToPath(new URL("guard.ts", import.meta.url));
  guard = spawn(process.execPath, [file, String(process.pid)], { detached: true, stdio: ["pipe", "ignore", "ignore"] });
  guard.on("error", () => {}); // the next start does its work
  guard.stdin?.on("error", () => {});
  guard.unref();
  // A child's pipe is a socket: it must not keep a program alive that has nothing else to do.
  (guard.stdin as unknown as { unref(): void }).unref();
}

export function isGone(name: string): void {
  mine.delete(name);
  if (mine.size > 0) return;
  guard?.stdin?.end(NOTHING_LEFT);
  guard = null;
}

/** The guard's last word from us when it has nothing to do. */
export const NOTHING_LEFT = "nothing left";

export function guardPid(): number | null {
  return guard?.pid ?? null;
}
