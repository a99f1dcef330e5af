import { type Outgoing, type Sender, type SenderEvents, TallyError, type Verdict } from "@tallymq/core/spi";
import type { RabbitChannel } from "./channel.ts";
import { ConfirmRing, type Sent } from "./confirms.ts";
import { Encoder } from "./encoder.ts";
import type { Route, Topology } from "./topology.ts";

/**
 * A session for sending: one channel in confirm mode.
 *
 * What `send` is given is written at once; a socket that takes no more lets it wait in this process's memory, twice at
 * most (the body, and its copy in the frames). The window of the caller bounds that, so nothing here does.
 */
export class RabbitSender implements Sender {
  readonly #channel: RabbitChannel;
  readonly #topology: Topology;
  readonly #events: SenderEvents;
  readonly #encoder: Encoder;
  readonly #ring: ConfirmRing = new ConfirmRing();
  readonly #unlisten: () => void;
  readonly #accepted = (m: Outgoing): Verdict => this.#route(m).accepted;
  readonly #nacked = (m: Outgoing): Verdict => this.#route(m).nacked;
  #disposed = false;

  /** @param channel In confirm mode, nothing published on it yet. */
  constructor(channel: RabbitChannel, topology: Topology, events: SenderEvents) {
    this.#channel = channel;
    this.#topology = topology;
    this.#events = events;
    this.#encoder = new Encoder(channel.wire, topology);
    const { raw, connection } = channel;
    raw.on("ack", ({ deliveryTag, multiple }) => this.#confirmed(deliveryTag, multiple, this.#accepted));
    raw.on("nack", ({ deliveryTag, multiple }) => this.#confirmed(deliveryTag, multiple, this.#nacked));
    raw.on("return", ({ fields, properties }) =>
      this.#returned(fields as unknown as ReturnFields, properties.messageId),
    );
    channel.onEnd = (error) => this.#lost(error);
    this.#unlisten = connection.listen(events);
    // The broker says it once, with the first publish after the alarm: a successor hears nothing.
    if (connection.blocked !== null) events.blocked(connection.blocked);
  }

  lane(): number {
    return 0;
  }

  send(_lane: number, batch: readonly Outgoing[], verdict: (index: number, verdict: Verdict) => void): void {
    const unusable = this.#unusable();
    if (unusable !== null) {
      for (let i = 0; i < batch.length; i++) verdict(i, unusable);
      return;
    }
    const sent: Sent = { batch, verdict };
    // Verdicts of what is refused come after the rest is on its way: a callback may do anything.
    let refused: [number, TallyError][] | null = null;
    for (let i = 0; i < batch.length; i++) {
      const error = this.#encoder.add(batch[i]!);
      if (error === null) this.#ring.add(sent, i);
      else (refused ??= []).push([i, error]);
    }
    this.#encoder.flush();
    for (const [i, error] of refused ?? [])
      verdict(i, { kind: error.code === "topology" ? "unsent" : "refused", error });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#disposed) {
      this.#disposed = true;
      this.#unlisten();
      this.#channel.onEnd = null;
      this.#ring.end({
        kind: "doubt",
        error: new TallyError("in-doubt", "the session was closed before the broker's confirm came", {
          mayArrive: true,
          retryable: true,
        }),
      });
    }
    await this.#channel.close();
  }

  #unusable(): Verdict | null {
    if (this.#disposed || this.#channel.over)
      return { kind: "unsent", error: new TallyError("unsent", "the session is over", { retryable: true }) };
    const { blocked } = this.#channel.connection;
    if (blocked !== null)
      return {
        kind: "unsent",
        error: new TallyError("unsent", `the broker accepts no messages now: ${blocked}`, { retryable: true }),
      };
    return null;
  }

  #confirmed(tag: number, multiple: boolean, verdict: (m: Outgoing) => Verdict): void {
    if (this.#disposed || this.#ring.confirm(tag, multiple, verdict)) return;
    // One tag that cannot be, and no other can be trusted: which message a confirm means is unknown from here.
    const what = `a confirm for delivery tag ${tag}${multiple ? " (multiple)" : ""}, which is not open on the channel`;
    this.#events.surfaced(`the broker sent ${what}: the channel is dropped`);
    this.#lost(
      new TallyError("session-lost", `${this.#channel.connection.where}: the broker sent ${what}`, { retryable: true }),
    );
  }

  /** A return comes before its confirm. It names no tag, so it is found by id; core never has one id out twice in a session and topic. */
  #returned(fields: ReturnFields, messageId: unknown): void {
    if (this.#disposed) return;
    const { exchange, routingKey, replyCode, replyText } = fields;
    const found = this.#ring.returned(
      (m) => m.id === messageId && this.#goesTo(m, exchange, routingKey),
      (m) => ({
        kind: "unroutable",
        error: new TallyError(
          "unroutable",
          `topic ${JSON.stringify(m.topic)}: no queue takes what exchange ${JSON.stringify(exchange)} gets with routing key ${JSON.stringify(routingKey)} (${replyCode} ${replyText})`,
          { id: m.id },
        ),
      }),
    );
    if (!found)
      this.#events.surfaced(
        `the broker returned a message from exchange ${JSON.stringify(exchange)} that is not in flight`,
      );
  }

  #goesTo(m: Outgoing, exchange: string, routingKey: string): boolean {
    const route = this.#route(m);
    const native = m.group === null && m.delayMs === 0 ? m.native : null;
    return (
      (native?.["exchange"] ?? route.exchange) === exchange &&
      (native?.["routingKey"] ?? route.routingKey) === routingKey
    );
  }

  /** What has a tag was encoded, and what was encoded has a route. */
  #route(m: Outgoing): Route {
    if (m.delayMs === 0) return this.#topology.route(m.topic, m.group)!;
    return this.#topology.delayed(m.topic, m.group, m.delayMs) as Route;
  }

  #lost(error: TallyError): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#unlisten();
    this.#channel.onEnd = null;
    this.#events.lost(error);
    this.#ring.end({
      kind: "doubt",
      error: new TallyError("in-doubt", "the session ended before the broker's confirm came", {
        mayArrive: true,
        retryable: true,
        cause: error,
      }),
    });
    void this.#channel.close();
  }
}

interface ReturnFields {
  readonly replyCode: number;
  readonly replyText: string;
  readonly exchange: string;
  readonly routingKey: string;
}
