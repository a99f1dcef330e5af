import { type ChildProcess, spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import {
  type Bounds,
  type Clock,
  type Incoming,
  resolveOptions,
  type Rule,
  type Timer,
  TallyError,
} from "@tallymq/core/spi";
import type { RecoveryReport } from "./broker/log/recover.ts";
import { parseAddress } from "./memory/address.ts";
import type { QueuedMessage } from "./memory/library.ts";
import { deadLetters, queuedMessages, request } from "./memory/remote/admin.ts";
import { realClock } from "./real.ts";

/** Options of {@link startMemoryBroker}; all optional but `at` and `dataDir`. */
export interface MemoryBrokerOptions {
  /** `"127.0.0.1:4555"` or `"unix:/path"`; loopback and unix sockets only. */
  readonly at: string;
  /** Where its log lives; made if missing. One process at a time. */
  readonly dataDir: string;
  /** Messages in one group's queue, settled ones apart, at most; a publish beyond it is nacked. @default no limit */
  readonly maxBacklog?: number;
  /** A message that comes back after so many deliveries goes to the group's dead letters. @default no limit */
  readonly deliveryLimit?: number;
  /** Times the wait for a start, nothing else: the process has its own clock. @default real time */
  readonly clock?: Clock;
  /** How long a start may take, in milliseconds. @default 10000 */
  readonly startWithin?: number;
}

/** A broker in a process of its own, which can be killed. Ends with the process that started it. */
export interface MemoryBrokerProcess extends AsyncDisposable {
  readonly at: string;
  /** Null while it is not running. */
  readonly pid: number | null;
  /** What the last start found in the log. */
  readonly report: RecoveryReport;
  /** All that the process has written to stderr, over all starts. */
  readonly stderr: string;
  /** SIGKILL, by its pid; resolves when it is gone. */
  kill(): Promise<void>;
  /** Lets it finish writing and give its directory back; resolves when it is gone. Idempotent. */
  stop(): Promise<void>;
  /** Starts it again on the same data; stops it first if it runs. */
  restart(): Promise<void>;
  /** Ends all connections of all clients; how many there were. */
  cutConnections(): Promise<number>;
  /** It reads nothing more from any sender until `unblock`. */
  block(reason: string): Promise<void>;
  unblock(): Promise<void>;
  /** Resolves when no group holds a message that is neither settled nor a dead letter. */
  idle(signal?: AbortSignal): Promise<void>;
  /** A group's queue, in its order. @throws TallyError `topology` when there is no such group */
  messages(topic: string, group: string): Promise<readonly QueuedMessage[]>;
  /** What came back too often for `deliveryLimit`. @throws TallyError `topology` when there is no such group */
  deadLetters(topic: string, group: string): Promise<readonly Incoming[]>;
}

// Source and built package differ in this: Node strips the types of the one, the other has none.
const PROGRAM = fileURLToPath(
  new URL(import.meta.url.endsWith(".ts") ? "./broker-process.ts" : "./broker-process.js", import.meta.url),
);
const any: Rule<unknown> = { default: undefined, read: (_, given) => given };
/** Their values are judged by the program. */
const KNOWN: Bounds<{ readonly [K in keyof MemoryBrokerOptions]: unknown }> = {
  at: any,
  dataDir: any,
  clock: any,
  deliveryLimit: any,
  maxBacklog: any,
  startWithin: any,
};
const FOREVER = new AbortController().signal;

/**
 * Starts a broker process and waits until it listens.
 * @throws TallyError `bad-config` (address, directory in use) or `unreachable` (it did not start)
 */
export async function startMemoryBroker(options: MemoryBrokerOptions): Promise<MemoryBrokerProcess> {
  resolveOptions("startMemoryBroker", options, KNOWN);
  const address = parseAddress("startMemoryBroker: at", options?.at);
  if (typeof options.dataDir !== "string" || options.dataDir === "")
    throw new TallyError("bad-config", "startMemoryBroker: dataDir must be the path of a directory");
  let running: Running | null = null;
  let report: RecoveryReport | null = null;
  const log = { text: "" };
  const start = async (): Promise<void> => {
    const begun = launch(options, log);
    const child = begun.child;
    // Also when nobody asked for it: a broker that ended by itself is not running.
    child.once("exit", () => {
      if (running === begun) running = null;
    });
    report = await begun.listening;
    running = child.exitCode === null && child.signalCode === null ? begun : null;
  };
  const end = async (signal: "SIGKILL" | "SIGTERM"): Promise<void> => {
    const ending = running;
    if (ending === null) return;
    ending.child.kill(signal);
    await ending.exited;
  };
  const ask = async (asked: Readonly<Record<string, unknown>>, signal: AbortSignal = FOREVER): Promise<unknown> =>
    (await request(address, asked, signal)).value;
  await start();
  return {
    at: options.at,
    get pid() {
      return running?.child.pid ?? null;
    },
    get report() {
      return report!;
    },
    get stderr() {
      return log.text;
    },
    kill: () => end("SIGKILL"),
    stop: () => end("SIGTERM"),
    async restart() {
      await end("SIGTERM");
      await start();
    },
    cutConnections: async () => Number(await ask({ t: "cut" })),
    block: async (reason) => void (await ask({ t: "block", reason })),
    unblock: async () => void (await ask({ t: "unblock" })),
    idle: async (signal) => void (await ask({ t: "idle" }, signal)),
    messages: (topic, group) => queuedMessages(address, topic, group, FOREVER),
    deadLetters: (topic, group) => deadLetters(address, topic, group, FOREVER),
    [Symbol.asyncDispose]: () => end("SIGTERM"),
  };
}

interface Running {
  readonly child: ChildProcess;
  readonly listening: Promise<RecoveryReport>;
  readonly exited: Promise<void>;
}

function launch(options: MemoryBrokerOptions, log: { text: string }): Running {
  const limits = [
    ...(options.maxBacklog === undefined ? [] : ["--max-backlog", String(options.maxBacklog)]),
    ...(options.deliveryLimit === undefined ? [] : ["--delivery-limit", String(options.deliveryLimit)]),
  ];
  const child = spawn(
    process.execPath,
    [PROGRAM, "--at", options.at, "--data", options.dataDir, "--with-parent", ...limits],
    { stdio: ["pipe", "pipe", "pipe"] },
  );
  const from = log.text.length;
  child.stderr.setEncoding("utf8").on("data", (chunk: string) => (log.text += chunk));
  // "close": stderr is then complete, and says why.
  const exited = new Promise<void>((resolve) => child.once("close", () => resolve()));
  const within = options.startWithin ?? 10_000;
  const listening = new Promise<RecoveryReport>((resolve, reject) => {
    let said = "";
    const timer: Timer = (options.clock ?? realClock).after(within, () => {
      child.kill("SIGKILL");
      reject(new TallyError("unreachable", `the broker process did not listen within ${within} ms`));
    });
    child.stdout.setEncoding("utf8").on("data", (chunk: string) => {
      said += chunk;
      if (!said.includes("\n")) return;
      timer.cancel();
      resolve(JSON.parse(said.slice(0, said.indexOf("\n"))) as RecoveryReport);
    });
    child.once("error", (error) => {
      timer.cancel();
      reject(new TallyError("unreachable", "the broker process could not be started", { cause: error }));
    });
    child.once("close", () => {
      timer.cancel();
      const why = log.text.slice(from).trim();
      reject(
        new TallyError(why.includes("[bad-config]") ? "bad-config" : "unreachable", `the broker process ended: ${why}`),
      );
    });
  });
  return { child, listening, exited };
}
