import { spawn } from "node:child_process";
import { once } from "node:events";

/**
 * Runs `work` while this machine's only holder of `file`. The lock is flock(2) in a child that lives as long as a pipe
 * from us: the kernel takes it back however we die, so that a lock can never be stale.
 */
export async function withLock<T>(file: string, waiting: () => void, work: () => Promise<T>): Promise<T> {
  const child = spawn("flock", ["--exclusive", file, "sh", "-c", "echo held; cat >/dev/null"], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  const ended = once(child, "close");
  const held = once(child.stdout, "data");
  // One of the two is awaited below; the other must not become an unhandled rejection when flock is missing.
  held.catch(() => {});
  ended.catch(() => {});
  const notice = setTimeout(waiting, 500);
  try {
    const first = await Promise.race([held.then(() => "held"), ended.then(() => "ended")]);
    clearTimeout(notice);
    if (first !== "held") throw new Error(`cannot lock ${file}: flock ended at once`);
    return await work();
  } finally {
    clearTimeout(notice);
    child.stdin.end();
    await ended.catch(() => {});
  }
}
