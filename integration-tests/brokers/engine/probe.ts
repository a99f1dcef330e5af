import { request } from "node:http";
import { homedir } from "node:os";
import { join } from "node:path";

/** The engines that may already run on this machine, in the order of preference; each a DOCKER_HOST value. */
export function candidates(): readonly string[] {
  const found: string[] = [];
  const set = process.env["DOCKER_HOST"];
  if (set) found.push(set);
  found.push("unix:///var/run/docker.sock");
  const runtime = process.env["XDG_RUNTIME_DIR"];
  if (runtime) found.push(`unix://${join(runtime, "docker.sock")}`);
  found.push(`unix://${join(homedir(), ".docker", "run", "docker.sock")}`);
  return [...new Set(found)];
}

/** Whether an engine answers a ping within two seconds. */
export function answers(dockerHost: string): Promise<boolean> {
  const target = address(dockerHost);
  if (target === null) return Promise.resolve(false);
  return new Promise((resolve) => {
    const ping = request({ ...target, path: "/_ping", timeout: 2_000 }, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode === 200));
      response.on("error", () => resolve(false));
    });
    ping.on("timeout", () => ping.destroy(new Error("no answer")));
    ping.on("error", () => resolve(false));
    ping.end();
  });
}

/** Ports are published on the engine's loopback, so an engine on another machine is of no use to us. */
function address(dockerHost: string): { socketPath: string } | { host: string; port: number } | null {
  const url = URL.parse(dockerHost);
  if (url === null) return null;
  if (url.protocol === "unix:") return { socketPath: decodeURIComponent(url.pathname) };
  const loopback = ["127.0.0.1", "localhost", "[::1]"].includes(url.hostname);
  if (!loopback || !["tcp:", "http:"].includes(url.protocol)) return null;
  return { host: url.hostname.replace(/[[\]]/g, ""), port: Number(url.port || 2375) };
}
