import { type ChannelModel, connect, IllegalOperationError } from "amqplib";
import { type Clock, type Random, TallyError, raced, DEFAULT_TLS, type ResolvedTls } from "@tallymq/core/spi";
import { RabbitChannel } from "./channel.ts";
import { type AskCredentials, logIn } from "./credentials.ts";
import type { Endpoint } from "./endpoint.ts";
import { classify } from "./errors.ts";
import { Renewal } from "./renewal.ts";

export interface ConnectionPlan {
  readonly urls: readonly Endpoint[];
  /** Milliseconds, whole seconds. */
  readonly heartbeat: number;
  readonly frameMax: number;
  readonly tls: ResolvedTls | null;
  readonly credentials: AskCredentials | null;
  /** Milliseconds for one URL. */
  readonly connectTimeout: number;
  /** As the broker's listings show it. */
  readonly label: string;
  readonly clock: Clock;
  readonly random: Random;
}

/** Told about an open connection, synchronously, in the order of the wire. */
export interface ConnectionEvents {
  blocked(reason: string): void;
  unblocked(): void;
}

/**
 * One open connection of the driver. Plain `connect`: reconnecting is the session keeper's. An `error` listener is
 * attached as long as it lives, since the driver's connection would otherwise end the process.
 */
export class RabbitConnection {
  readonly endpoint: Endpoint;
  readonly #model: ChannelModel;
  readonly #socket: AbortController;
  readonly #listeners: Set<ConnectionEvents> = new Set();
  readonly #hearers: Set<(what: string) => void> = new Set();
  /** Null with credentials that are good for ever. */
  #renewal: Renewal | null = null;
  #updating: Promise<void> = Promise.resolve();
  readonly #ended: PromiseWithResolvers<void> = Promise.withResolvers();
  #unblock: PromiseWithResolvers<void> = Promise.withResolvers();
  #blocked: string | null = null;
  #reason: unknown = null;
  #over = false;

  private constructor(endpoint: Endpoint, model: ChannelModel, socket: AbortController) {
    this.endpoint = endpoint;
    this.#model = model;
    this.#socket = socket;
    // `error` comes before the channels are told, `close` after; an operator's close brings only the latter.
    model.on("error", (error) => (this.#reason ??= error));
    model.on("close", (error) => this.#end(error));
    model.on("blocked", (reason) => {
      this.#blocked = reason;
      for (const listener of this.#listeners) listener.blocked(reason);
    });
    model.on("unblocked", () => {
      this.#blocked = null;
      this.#unblock.resolve();
      this.#unblock = Promise.withResolvers();
      for (const listener of this.#listeners) listener.unblocked();
    });
  }

  /** One try, at one endpoint. @throws TallyError, or the signal's reason */
  static async open(endpoint: Endpoint, plan: ConnectionPlan, signal: AbortSignal): Promise<RabbitConnection> {
    signal.throwIfAborted();
    // The driver ends a dead connection politely, which leaves the socket of a half-open one behind, and with it the
    // process. The socket's own signal is the public way to be rid of it.
    const socket = new AbortController();
    const onAbort = (): void => socket.abort();
    signal.addEventListener("abort", onAbort, { once: true });
    const { protocol, hostname, port, vhost } = endpoint;
    try {
      const login = await raced(logIn(endpoint, plan.credentials, plan.clock, signal), signal);
      const { username, password } = login;
      const model = await raced(
        connect(
          {
            protocol,
            hostname,
            port,
            username,
            password,
            vhost,
            heartbeat: plan.heartbeat / 1_000,
            frameMax: plan.frameMax,
          },
          {
            ...(protocol === "amqps" ? (plan.tls ?? DEFAULT_TLS) : {}),
            noDelay: true,
            signal: socket.signal,
            clientProperties: { connection_name: plan.label },
          } as object,
        ),
        signal,
      );
      const connection = new RabbitConnection(endpoint, model, socket);
      connection.#renewal = new Renewal(login, {
        clock: plan.clock,
        random: plan.random,
        where: endpoint.shown,
        ask: (until) => logIn(endpoint, plan.credentials, plan.clock, until),
        update: (secret) => connection.#update(secret),
        surfaced: (what) => connection.#surfaced(what),
        expired: (error) => {
          connection.#reason ??= error;
          connection.destroy();
        },
      });
      return connection;
    } catch (thrown) {
      socket.abort();
      throw signal.aborted ? signal.reason : classify(thrown, endpoint.shown, "opening");
    } finally {
      signal.removeEventListener("abort", onAbort);
    }
  }

  get over(): boolean {
    return this.#over;
  }

  /** Named in errors; no credentials. */
  get where(): string {
    return this.endpoint.shown;
  }

  /** Why the broker reads nothing from this connection (an alarm), or null. */
  get blocked(): string | null {
    return this.#blocked;
  }

  /** What the driver said when it ended; null before, and after an orderly close. */
  get reason(): unknown {
    return this.#reason;
  }

  listen(events: ConnectionEvents): () => void {
    this.#listeners.add(events);
    return () => void this.#listeners.delete(events);
  }

  /** What a person should know of the connection: one of those who listen is told, since all tell the same person. */
  hear(surfaced: (what: string) => void): () => void {
    this.#hearers.add(surfaced);
    return () => void this.#hearers.delete(surfaced);
  }

  /** A new channel. On a blocked connection it waits for the end of the alarm, since the broker would not read the request. */
  async channel(signal: AbortSignal): Promise<RabbitChannel> {
    while (this.#blocked !== null && !this.#over)
      await raced(Promise.race([this.#unblock.promise, this.#ended.promise]), signal);
    if (this.#over) throw this.#lost();
    try {
      // The listener for `error` has to be there before anything else can happen on the channel.
      const opening = this.#model.createChannel().then((raw) => new RabbitChannel(raw, this));
      // The connection's end rejects it. A race with `#ended` would hold each channel for as long as the connection lives.
      return await raced(opening, signal, (late) => void late.close());
    } catch (thrown) {
      // The driver holds it for closed: its end was read together with the last answer of the handshake, before there was
      // anybody to hear `close`. Without this it would be taken for open, and asked for channels, for ever.
      if (thrown instanceof IllegalOperationError && !this.#over) this.#end(thrown);
      if (signal.aborted) throw signal.reason;
      throw this.#over ? this.#lost() : classify(thrown, this.where, "opening");
    }
  }

  /** Resolves when the broker has answered, or the heartbeat has given it up. */
  async close(): Promise<void> {
    if (!this.#over) await Promise.race([this.#model.close().catch(() => {}), this.#ended.promise]);
    this.destroy();
  }

  /** At once, without a word to the broker. */
  destroy(): void {
    this.#socket.abort();
  }

  #end(error: unknown): void {
    this.#reason ??= error ?? null;
    this.#over = true;
    this.#renewal?.stop();
    this.#ended.resolve();
    // After an orderly close by the broker the driver's last words are still to be sent, and the broker hangs up itself.
    if (!closedByBroker(this.#reason)) this.destroy();
  }

  /** One at a time: the driver keeps a listener for each that has no answer. */
  async #update(secret: string): Promise<void> {
    await this.#updating;
    this.#updating = this.#model.updateSecret(Buffer.from(secret), "renewed before it runs out");
    await this.#updating;
  }

  #surfaced(what: string): void {
    for (const hearer of this.#hearers) return hearer(what);
  }

  #lost(): TallyError {
    return this.#reason === null
      ? new TallyError("session-lost", `${this.where}: the connection is closed`, { retryable: true })
      : classify(this.#reason, this.where, "open");
  }
}

function closedByBroker(reason: unknown): boolean {
  return typeof reason === "object" && reason !== null && typeof (reason as { code?: unknown }).code === "number";
}
