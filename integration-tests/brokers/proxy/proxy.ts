import { createConnection, createServer, type Server, type Socket } from "node:net";
import { freePort } from "../engine/port.ts";
import { Link } from "./link.ts";

export type Side = "client" | "broker";

export interface Slowness {
  /** Bytes a second, for each connection and direction. */
  readonly bytesPerSecond: number;
  /** Largest piece that is written at once. @default 64 */
  readonly slice?: number;
}

export interface CutAfter {
  /** Bytes of that side, counted over all connections from now on, that are still carried; not one more. */
  readonly bytes: number;
  /** Whose bytes are counted. @default "client" */
  readonly from?: Side;
}

/**
 * A TCP proxy on a loopback port that misbehaves on demand. Faults stay until `heal()`; connections that a fault has
 * destroyed stay destroyed.
 */
export class Proxy implements AsyncDisposable {
  readonly port: number;
  readonly #target: () => number;
  readonly #links = new Set<Link>();
  #server: Server | null = null;
  #fault: Fault = NONE;
  #budget: Budget | null = null;

  private constructor(port: number, target: () => number) {
    this.port = port;
    this.#target = target;
  }

  static async start(target: () => number): Promise<Proxy> {
    for (let attempt = 1; ; attempt++) {
      const proxy = new Proxy(await freePort(), target);
      try {
        await proxy.#listen();
        return proxy;
      } catch (error) {
        if (attempt === 5) throw error;
      }
    }
  }

  /** Connections that are open now. */
  get connections(): number {
    return this.#links.size;
  }

  /** Bytes carried so far, over all connections. */
  readonly carried: { client: number; broker: number } = { client: 0, broker: 0 };

  /** Resets (RST) every connection on both sides. New ones are welcome. Answers how many there were. */
  cut(): number {
    const links = [...this.#links];
    for (const link of links) link.reset();
    return links.length;
  }

  /** New connections are refused (ECONNREFUSED) until `heal()`; open ones go on. */
  async refuse(): Promise<void> {
    const server = this.#server;
    this.#server = null;
    // `close` waits for open connections too; the port itself is free at once.
    server?.close();
    if (server !== null) await freed(this.port);
  }

  /**
   * Silence without an end of connection, as after a pulled cable: nothing is carried, new connections are accepted and
   * hear nothing. With a side only what that side sends is held: `"broker"` lets publishes through and holds the
   * verdicts. What was held is carried after `heal()`, and lost at `cut()`.
   */
  halfOpen(side: Side | "both" = "both"): void {
    this.#set({ ...this.#fault, held: side });
  }

  /** Carries slowly, in slices, so that frames arrive in pieces. */
  slow(slowness: Slowness): void {
    this.#set({ ...this.#fault, slow: { slice: 64, ...slowness } });
  }

  /** Carries exactly that many bytes, then resets the client and ends the broker's side. Once; resolves at the cut. */
  cutAfter(plan: CutAfter): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#budget = { from: plan.from ?? "client", left: plan.bytes, spent: resolve };
    return promise;
  }

  /** Ends every fault. */
  async heal(): Promise<void> {
    this.#budget = null;
    this.#set(NONE);
    if (this.#server === null) await this.#listen();
  }

  async close(): Promise<void> {
    this.cut();
    await this.refuse();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #set(fault: Fault): void {
    this.#fault = fault;
    for (const link of this.#links) link.wake();
  }

  #accept(client: Socket): void {
    const broker = createConnection({ host: "127.0.0.1", port: this.#target(), noDelay: true });
    const link = new Link(client, broker, {
      fault: () => this.#fault,
      budget: () => this.#budget,
      carried: (side, bytes) => (this.carried[side] += bytes),
      spent: () => {
        const spent = this.#budget?.spent;
        this.#budget = null;
        spent?.();
      },
      closed: () => this.#links.delete(link),
    });
    this.#links.add(link);
  }

  #listen(): Promise<void> {
    const server = createServer({ noDelay: true, pauseOnConnect: true }, (client) => this.#accept(client));
    return new Promise((resolve, reject) => {
      server.once("error", reject);
      server.listen(this.port, "127.0.0.1", () => {
        this.#server = server;
        resolve();
      });
    });
  }
}

/** What is wrong with the wire now. */
export interface Fault {
  readonly held: Side | "both" | null;
  readonly slow: Required<Slowness> | null;
}

export interface Budget {
  readonly from: Side;
  left: number;
  readonly spent: () => void;
}

const NONE: Fault = { held: null, slow: null };

/** A proxy on a free loopback port in front of another loopback port, which may become known later. */
export async function startProxy(target: number | (() => number)): Promise<Proxy> {
  return await Proxy.start(typeof target === "number" ? () => target : target);
}

async function freed(port: number): Promise<void> {
  const { until } = await import("../engine/wait.ts");
  await until(`port ${port} to refuse`, 5_000, () => refuses(port), 5);
}

function refuses(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const probe = createConnection({ host: "127.0.0.1", port });
    probe.on("connect", () => {
      probe.destroy();
      resolve(false);
    });
    probe.on("error", () => resolve(true));
  });
}
