import { spawn } from "node:child_process";
import { mkdtempSync, readdirSync, rmSync } from "node:fs";
import { createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, onTestFinished } from "vitest";
import { freePorts } from "../brokers/engine/port.ts";
import { until } from "../brokers/engine/wait.ts";
import { type RocketNode, startRocket } from "../brokers/index.ts";
import { NODE_FLAGS } from "../workload/node-flags.ts";

let node: RocketNode;
let names = 0;
beforeAll(async () => void (node = await startRocket()));
afterAll(() => node.stop());

/** By itself, and long before any time-out of the client's libraries. */
const EXIT_MS = 40_000;

/** A process that is about to close what it has open; its folders are its own, and empty. */
async function started(more: Readonly<Record<string, string>> = {}) {
  const folder = mkdtempSync(join(tmpdir(), "tally-exits-"));
  onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
  const child = spawn(process.execPath, [...NODE_FLAGS, join(import.meta.dirname, "leaving.ts")], {
    cwd: folder,
    env: {
      ...{ PATH: process.env["PATH"] ?? "", HOME: folder, ENDPOINT: node.proxied, NAMES: node.names },
      ...{ TOPIC: `exits-${++names}`, ...more },
    },
    stdio: "pipe",
  });
  onTestFinished(() => void child.kill("SIGKILL"));
  let [said, complained] = ["", ""];
  child.stdout.setEncoding("utf8").on("data", (part: string) => void (said += part));
  child.stderr.setEncoding("utf8").on("data", (part: string) => void (complained += part));
  let ended: { readonly code: number | null } | null = null;
  child.on("close", (code) => void (ended = { code }));
  await until("the process to be at work", 60_000, () => {
    if (ended !== null) throw new Error(`it ended: ${complained}`);
    return said.includes("ready");
  });
  return {
    /** Tells it to close; resolves when the process is gone. */
    async close(): Promise<void> {
      child.stdin.write("close\n");
      await until("the process to exit", EXIT_MS, () => ended !== null).catch((error: unknown) => {
        throw new Error(`it said ${JSON.stringify(said + complained)}`, { cause: error });
      });
      // An unhandled rejection, or an error event without a listener, would be another code, and words.
      expect([ended, said, complained]).toEqual([{ code: 0 }, "ready\nclosed\n", ""]);
      expect(readdirSync(folder)).toEqual([]);
    },
  };
}

it("after close a process exits by itself, with nothing in its home folder and no unhandled rejection: the proxy is up", async () => {
  await (await started()).close();
});

it("the same when nobody has ever been there", async () => {
  const [endpoint, servers] = (await freePorts(2)).map((port) => `127.0.0.1:${port}`);
  await (await started({ ENDPOINT: endpoint!, NAMES: servers!, AWAY: "1" })).close();
});

it("the same when somebody is there who never answers", async () => {
  const silent: Server = createServer(() => {}).listen(0, "127.0.0.1");
  onTestFinished(() => void silent.close());
  await until("the server to listen", 5_000, () => silent.listening);
  const at = `127.0.0.1:${(silent.address() as { port: number }).port}`;
  await (await started({ ENDPOINT: at, NAMES: at, AWAY: "1" })).close();
});

it("the same when the proxy falls silent", async () => {
  const process = await started();
  node.link.halfOpen("broker");
  try {
    await process.close();
  } finally {
    await node.link.heal();
  }
});

it("the same when the proxy was killed meanwhile, and is still away", async () => {
  const process = await started();
  await node.killPart("proxy");
  await process.close();
});
