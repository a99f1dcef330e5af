import { type Outgoing, type Sender, type SenderEvents, TallyError, textOf, type Verdict } from "@tallymq/core/spi";
import type { RabbitChannel } from "./channel.ts";
import { ConfirmRing, type Sent } from "./confirms.ts";
import { exchangeOf, inDoubt, notWritten, returned, routeOf, unusable } from "./copies.ts";
import { Encoder } from "./encoder.ts";
import { blame } from "./rolled-back.ts";
import type { Topology } from "./topology.ts";

/** Until a message that may not be written is tried again, in milliseconds. */
const REFUSED_AGAIN_MS = 1_000;

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
  readonly #accepted = (m: Outgoing): Verdict => routeOf(this.#topology, m).accepted;
  readonly #nacked = (m: Outgoing): Verdict => routeOf(this.#topology, m).nacked;
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
    raw.on("return", (message) => this.#disposed || returned(this.#ring, topology, events, message));
    channel.onEnd = (error) => this.#lost(error);
    this.#unlisten = connection.listen(events);
    // The broker says it once, with the first publish after the alarm: a successor hears nothing.
    if (connection.blocked !== null) events.blocked(connection.blocked);
  }

  /** Resolves when nothing of it is left at the broker. */
  get gone(): Promise<void> {
    return this.#channel.ended;
  }

  lane(): number {
    return 0;
  }

  kept(): null {
    return null;
  }

  send(_lane: number, batch: readonly Outgoing[], verdict: (index: number, verdict: Verdict) => void): void {
    const unsent = unusable(this.#channel, this.#disposed || this.#channel.over);
    if (unsent !== null) {
      for (let i = 0; i < batch.length; i++) verdict(i, unsent);
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
    for (const [i, error] of refused ?? []) verdict(i, notWritten(error));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#disposed) {
      this.#disposed = true;
      this.#unlisten();
      this.#channel.onEnd = null;
      this.#ring.end(inDoubt("the session was closed before the broker's confirm came"));
    }
    await this.#channel.close();
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

  #lost(error: TallyError): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#unlisten();
    this.#channel.onEnd = null;
    const { closedFor, replyCode } = this.#channel;
    const blamed =
      closedFor === "basic.publish" ? blame(error.message, replyCode, (m) => exchangeOf(this.#topology, m)) : null;
    const doubt = inDoubt("the session ended before the broker's confirm came", error);
    this.#events.lost(error);
    this.#ring.end(blamed === null ? doubt : (m) => withheld(blamed(m)) ?? doubt);
    void this.#channel.close();
  }
}

/**
 * By its size a message is known for what it is. Of those that may not be written some may have been taken, while they might: they
 * are asked for again, and not at once. Each try ends the session for all topics, until this one's breaker keeps it away.
 */
function withheld(blamed: Verdict | null): Verdict | null {
  if (blamed?.kind !== "refused" || blamed.error.code !== "unauthorized") return blamed;
  const id = blamed.error.id ?? undefined;
  const error = new TallyError("unauthorized", textOf(blamed.error), { id, mayArrive: true, retryable: true });
  return { kind: "later", error, afterMs: REFUSED_AGAIN_MS };
}
