import { createServer } from "node:net";
import type { AddressInfo, Server } from "node:net";
import type { ServerChannel } from "./channel.ts";
import { ServerConnection } from "./connection.ts";
import type { Handshake } from "./connection.ts";
import type { Received, ReceivedPublish, ReceivedSettlement } from "./received.ts";
import type { AmqpScript } from "./script.ts";

/** Options of {@link scriptedAmqp}; all optional. */
export interface AmqpServerOptions extends Partial<Handshake> {
  /** On 127.0.0.1. @default a free one */
  readonly port?: number;
}

/** Options of `waitFor`. */
export interface WaitOptions {
  /** Milliseconds. @default 5000 */
  readonly within?: number;
  /** What is waited for, for the error. */
  readonly what?: string;
}

interface Waiter {
  readonly look: () => boolean;
  readonly reject: (error: unknown) => void;
}

/** A real TCP server on loopback that speaks AMQP 0-9-1 as a script says. */
export class ScriptedAmqp implements AsyncDisposable {
  /** May be changed at any time; it holds from the next frame on. */
  script: AmqpScript;
  /** All connections there ever were, in order. */
  readonly connections: ServerConnection[] = [];
  /** All that clients have sent, in the order of arrival. */
  readonly received: Received[] = [];
  readonly #server: Server;
  readonly #waiters: Set<Waiter> = new Set();
  #failure: { readonly error: unknown; heard: boolean } | null = null;

  private constructor(script: AmqpScript, options: AmqpServerOptions) {
    this.script = script;
    const handshake: Handshake = {
      channelMax: options.channelMax ?? 2047,
      frameMax: options.frameMax ?? 131_072,
      heartbeat: options.heartbeat ?? 60,
      mechanisms: options.mechanisms ?? "PLAIN AMQPLAIN",
      serverProperties: options.serverProperties ?? {
        product: "scripted",
        version: "4.0.0",
        platform: "test",
        capabilities: {
          publisher_confirms: true,
          exchange_exchange_bindings: true,
          "basic.nack": true,
          consumer_cancel_notify: true,
          "connection.blocked": true,
          consumer_priorities: true,
          authentication_failure_close: true,
          per_consumer_qos: true,
        },
      },
    };
    const host = {
      handshake,
      script: () => this.script,
      record: (one: Received) => this.#record(one),
      fail: (error: unknown) => this.#fail(error),
    };
    this.#server = createServer((socket) => {
      const connection = new ServerConnection(this.connections.length, socket, host);
      this.connections.push(connection);
      try {
        this.script.onSocket?.(connection);
      } catch (error) {
        this.#fail(error);
      }
      this.#changed();
    });
  }

  /** @internal use `scriptedAmqp` */
  static async start(script: AmqpScript, options: AmqpServerOptions): Promise<ScriptedAmqp> {
    const server = new ScriptedAmqp(script, options);
    await new Promise<void>((resolve, reject) => {
      server.#server.once("error", reject);
      server.#server.listen(options.port ?? 0, "127.0.0.1", () => resolve());
    });
    return server;
  }

  get port(): number {
    return (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `amqp://guest:guest@127.0.0.1:${this.port}`;
  }

  get publishes(): ReceivedPublish[] {
    return this.received.filter((one) => one.kind === "publish");
  }

  get settlements(): ReceivedSettlement[] {
    return this.received.filter(
      (one): one is ReceivedSettlement => one.kind === "ack" || one.kind === "nack" || one.kind === "reject",
    );
  }

  /** The connection that came last. @throws RangeError before the first */
  get connection(): ServerConnection {
    const last = this.connections.at(-1);
    if (last === undefined) throw new RangeError("no client has connected");
    return last;
  }

  /** The open channel that was opened last on the last connection. @throws RangeError when there is none */
  get channel(): ServerChannel {
    const last = [...this.connection.channels.values()].at(-1);
    if (last === undefined) throw new RangeError("the client has no channel open");
    return last;
  }

  /** Methods of this name that came, `queue.declare` say. */
  methods(name: string): Extract<Received, { kind: "method" }>[] {
    return this.received.filter((one) => one.kind === "method").filter((one) => one.name === name);
  }

  /**
   * Looks after each thing that arrives until `look` gives something but undefined, null or false, and resolves with it.
   * @throws Error with a count of what came when the time is over; what `look` or a hook of the script throws, at once
   */
  waitFor<T>(
    look: (server: this) => T | undefined | null | false,
    { within = 5000, what = "what was waited for" }: WaitOptions = {},
  ): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      const waiter: Waiter = {
        look: () => {
          const found = look(this);
          if (found === undefined || found === null || found === false) return false;
          clearTimeout(timer);
          resolve(found);
          return true;
        },
        reject: (error) => {
          clearTimeout(timer);
          reject(error);
        },
      };
      const timer = setTimeout(() => {
        this.#waiters.delete(waiter);
        reject(new Error(`${what} did not come within ${within} ms; came: ${this.#summary()}`));
      }, within);
      this.#waiters.add(waiter);
      if (this.#failure === null) this.#changed();
      else this.#fail(this.#failure.error);
    });
  }

  /** Resolves with the first `n` publishes of all when they are there. */
  publish(n: number, options?: WaitOptions): Promise<ReceivedPublish[]> {
    return this.waitFor((server) => server.publishes.length >= n && server.publishes.slice(0, n), {
      what: `publish ${n}`,
      ...options,
    });
  }

  /** Drops all sockets and stops listening. @throws what a hook of the script threw, if no `waitFor` has told it */
  async [Symbol.asyncDispose](): Promise<void> {
    const stopped = new Promise<void>((resolve) => this.#server.close(() => resolve()));
    for (const connection of this.connections) if (connection.state !== "closed") connection.drop({ reset: false });
    await Promise.all([stopped, ...this.connections.map(({ closed }) => closed)]);
    for (const waiter of this.#waiters) waiter.reject(new Error("the scripted server was closed"));
    this.#waiters.clear();
    if (this.#failure !== null && !this.#failure.heard) throw this.#failure.error;
  }

  #record(received: Received): void {
    this.received.push(received);
    this.#changed();
  }

  #changed(): void {
    for (const waiter of this.#waiters) {
      try {
        if (waiter.look()) this.#waiters.delete(waiter);
      } catch (error) {
        this.#waiters.delete(waiter);
        waiter.reject(error);
      }
    }
  }

  #fail(error: unknown): void {
    this.#failure ??= { error, heard: false };
    for (const waiter of this.#waiters) {
      this.#failure.heard = true;
      waiter.reject(error);
    }
    this.#waiters.clear();
  }

  #summary(): string {
    const counts = new Map<string, number>();
    for (const one of this.received) {
      const name = one.kind === "method" ? one.name : one.kind;
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    return [...counts].map(([name, n]) => `${n} × ${name}`).join(", ") || "nothing";
  }
}

/** Starts a scripted server; `await using server = await scriptedAmqp({ … })` ends it. */
export function scriptedAmqp(script: AmqpScript = {}, options: AmqpServerOptions = {}): Promise<ScriptedAmqp> {
  return ScriptedAmqp.start(script, options);
}
