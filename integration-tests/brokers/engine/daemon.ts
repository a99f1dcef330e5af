import { spawn } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { readFile, rm } from "node:fs/promises";
import { tail } from "./command.ts";
import { systemPath } from "./packages.ts";
import type { Places } from "./places.ts";
import { answers } from "./probe.ts";
import type { Progress } from "./progress.ts";
import { until } from "./wait.ts";

export const dockerHostOf = (at: Places): string => `unix://${at.socket}`;

/** Starts our own engine, detached: it outlives this process and serves the next run. Call it under the lock. */
export async function startDaemon(at: Places, progress: Progress): Promise<void> {
  // A pid file from before a reboot may name a stranger, and dockerd refuses to start over a living pid.
  if ((await runningPid(at)) === null) await rm(at.pid, { force: true });
  progress("starting a Docker engine of our own …");
  const log = openSync(at.log, "a", 0o600);
  const args = ["--data-root", at.data, "--exec-root", `${at.run}/exec`, "--pidfile", at.pid];
  const daemon = spawn("dockerd", [...args, "-H", dockerHostOf(at), "--ip", "127.0.0.1"], {
    detached: true,
    stdio: ["ignore", log, log],
    env: { ...process.env, PATH: systemPath() },
  });
  closeSync(log);
  let ended: string | null = null;
  daemon.on("error", (error) => (ended = error.message));
  daemon.on("exit", (code) => (ended = `exit code ${code}`));
  daemon.unref();
  const up = until("the Docker engine", 60_000, async () => ended !== null || (await answers(dockerHostOf(at))));
  await up.catch(() => {});
  if (ended === null && (await answers(dockerHostOf(at)))) {
    progress("Docker engine up; it stays for the next runs (npm run engine -- stop ends it)");
    return;
  }
  const said = tail(await readFile(at.log, "utf8").catch(() => ""), 8);
  throw new Error(`the Docker engine did not come up (${ended ?? "no answer in 60 s"}); ${at.log} ends with:\n${said}`);
}

/** Ends our own engine with its containers; false when it does not run. */
export async function stopDaemon(at: Places): Promise<boolean> {
  const pid = await runningPid(at);
  if (pid === null) return false;
  process.kill(pid, "SIGTERM");
  await until("the Docker engine's end", 60_000, async () => (await runningPid(at)) === null);
  return true;
}

/** The pid of our engine, judged by its command line: the number alone may have been given to another process. */
export async function runningPid(at: Places): Promise<number | null> {
  const pid = Number(await readFile(at.pid, "utf8").catch(() => ""));
  if (!Number.isInteger(pid) || pid <= 1) return null;
  const command = await readFile(`/proc/${pid}/cmdline`, "utf8").catch(() => "");
  return command.includes("dockerd") && command.includes(at.socket) ? pid : null;
}
