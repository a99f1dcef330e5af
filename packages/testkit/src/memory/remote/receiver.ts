import { type Delivery, type Receiver, type ReceiverEvents, type Settlement, TallyError } from "@tallymq/core/spi";
import { encodeFrame, type Frame, list, readMessage, text, whole, WireError } from "../../broker/wire.ts";
import { errorOf, type Link } from "./link.ts";

/** A session for receiving from a broker process. */
export class RemoteReceiver implements Receiver {
  readonly #link: Link;
  readonly #epoch: number;
  readonly #gone: (receiver: RemoteReceiver) => void;
  /** Deliveries without a settlement. */
  readonly #out: Set<number> = new Set();
  #events: ReceiverEvents | null = null;
  #acks: number[] = [];
  #releases: [number, number][] = [];
  /** What was under way when the lane was paused: handed on when it is resumed. */
  #held: Delivery[] = [];
  #paused = false;
  #over = false;
  #subscribed: ((error: TallyError | null) => void) | null = null;
  readonly #stopped: (() => void)[] = [];
  #left: (() => void) | null = null;
  #leaving: Promise<void> | null = null;

  constructor(link: Link, epoch: number, gone: (receiver: RemoteReceiver) => void) {
    this.#link = link;
    this.#epoch = epoch;
    this.#gone = gone;
  }

  /** Resolves when the broker has the subscription. @throws TallyError what it answers instead */
  subscribe(events: ReceiverEvents): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#subscribed = (error) => {
        this.#subscribed = null;
        if (error === null) {
          this.#events = events;
          return resolve();
        }
        reject(error);
      };
      this.#link.listen({ frame: (frame) => this.#onFrame(frame), lost: (error) => this.#end(error) });
    });
  }

  settle(batch: readonly Settlement[]): void {
    if (this.#over) return;
    for (const settlement of batch) {
      const { delivery } = settlement;
      // Of an earlier session: its end has already given back what was out.
      if (delivery.epoch !== this.#epoch) continue;
      const tag = delivery.token as number;
      if (!this.#out.delete(tag)) {
        this.#events?.surfaced(`a delivery of message ${JSON.stringify(delivery.message.id)} was settled twice`);
        continue;
      }
      // The settlements of one tick share a frame.
      if (this.#acks.length + this.#releases.length === 0) queueMicrotask(() => this.#flush());
      if (settlement.kind === "ack") this.#acks.push(tag);
      else this.#releases.push([tag, Math.max(0, Math.ceil(settlement.afterMs))]);
    }
  }

  extend(delivery: Delivery): Promise<boolean> {
    return Promise.resolve(!this.#over && delivery.epoch === this.#epoch && this.#out.has(delivery.token as number));
  }

  pause(): void {
    this.#paused = true;
    this.#say("pause");
  }

  resume(): void {
    this.#paused = false;
    this.#say("resume");
    queueMicrotask(() => {
      if (this.#paused || this.#over || this.#held.length === 0) return;
      const held = this.#held;
      this.#held = [];
      this.#events?.deliver(held);
    });
  }

  stop(): Promise<void> {
    if (this.#over) return Promise.resolve();
    return new Promise((resolve) => {
      this.#stopped.push(resolve);
      this.#say("stop");
    });
  }

  /** Resolves when the broker has read every settlement, or the connection is gone; for each who asks. */
  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#over) return;
    this.#leaving ??= new Promise<void>((resolve) => {
      this.#left = resolve;
      this.#events = null;
      this.#say("bye");
    });
    await this.#leaving;
  }

  /** While it is still being opened. */
  abandon(reason: unknown): void {
    this.#link.abandon();
    this.#end(TallyError.is(reason) ? reason : new TallyError("aborted", "opening was given up", { cause: reason }));
  }

  #say(word: string): void {
    if (this.#over) return;
    this.#flush();
    this.#link.send(encodeFrame(`{"t":"${word}"}`));
  }

  #flush(): void {
    if (this.#acks.length + this.#releases.length === 0) return;
    this.#link.send(encodeFrame(JSON.stringify({ t: "settle", a: this.#acks, r: this.#releases })));
    this.#acks = [];
    this.#releases = [];
  }

  #onFrame({ header, body }: Frame): void {
    switch (header["t"]) {
      case "subscribed":
        return this.#subscribed?.(null);
      case "deliver":
        return this.#deliver(list(header["m"]), body);
      case "surfaced":
        return this.#events?.surfaced(text(header["what"]));
      case "stopped":
        return this.#stopped.shift()?.();
      case "bye":
        this.#link.close();
        return this.#end(null);
      case "error":
        throw errorOf(header);
      default:
        throw new WireError("no frame for a receiver");
    }
  }

  #deliver(entries: readonly unknown[], body: Uint8Array): void {
    const deliveries: Delivery[] = [];
    let at = 0;
    for (const entry of entries) {
      const [tag, count, meta] = list(entry);
      const message = readMessage(meta, body, at);
      at += message.body.length;
      const token = whole(tag, 1, Number.MAX_SAFE_INTEGER);
      this.#out.add(token);
      deliveries.push({
        token,
        lane: 0,
        epoch: this.#epoch,
        place: null,
        count: whole(count, 1, Number.MAX_SAFE_INTEGER),
        message,
      });
    }
    // Behind what is held, so that the order stays.
    if (this.#paused || this.#held.length > 0) this.#held.push(...deliveries);
    else this.#events?.deliver(deliveries);
  }

  /** Lost; or over as wished, when there is no error. */
  #end(error: TallyError | null): void {
    if (this.#over) return;
    this.#over = true;
    this.#out.clear();
    this.#held = [];
    this.#gone(this);
    for (const resolve of this.#stopped) resolve();
    this.#left?.();
    if (error === null) return;
    if (this.#subscribed !== null) this.#subscribed(error);
    else this.#events?.lost(error);
  }
}
