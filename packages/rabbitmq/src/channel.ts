import type { Channel } from "amqplib";
import { TallyError } from "@tallymq/core/spi";
import type { RabbitConnection } from "./connection.ts";
import { classify } from "./errors.ts";

/**
 * What amqplib 2.3 has below its typed surface and this adapter uses; looked at when a channel opens, never assumed.
 * - `rpc` sends any method by its number: the typed surface has no `confirm.select` for a plain channel.
 * - `sendBytes` writes whole frames, behind all that was written before. The typed `publish` encodes each message in
 *   four buffers and passes it through three streams, which costs several times what the frames themselves do.
 */
interface Inner {
  readonly ch: number;
  readonly connection: { readonly frameMax: number; sendBytes(bytes: Uint8Array): void };
  rpc(method: number, fields: object, expect: number): Promise<unknown>;
}

const CONFIRM_SELECT = 0x55000a;
const CONFIRM_SELECT_OK = 0x55000b;

/** One channel of the driver, with an `error` listener, and one place that says when and why it ended. */
export class RabbitChannel {
  readonly raw: Channel;
  readonly connection: RabbitConnection;
  /** Called once when the channel ended, whoever ended it. The channel is {@link over} some microtasks before. */
  onEnd: ((error: TallyError) => void) | null = null;
  readonly #ended: PromiseWithResolvers<void> = Promise.withResolvers();
  #reason: unknown = null;
  #over = false;

  constructor(raw: Channel, connection: RabbitConnection) {
    this.raw = raw;
    this.connection = connection;
    raw.on("error", (error) => (this.#reason ??= error));
    raw.on("close", () => {
      this.#over = true;
      this.#ended.resolve();
      // A connection that an operator closes tells its channels first and the reason afterwards, in the same call.
      queueMicrotask(() => this.onEnd?.(this.#error()));
    });
  }

  get over(): boolean {
    return this.#over;
  }

  /** Resolves when it is {@link over}. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** The channel's number and the largest frame, for those who write frames themselves. @throws TallyError `unsupported` */
  get wire(): { readonly number: number; readonly frameMax: number; write(frames: Uint8Array): void } {
    const inner = this.raw as unknown as Partial<Inner>;
    const { ch, connection } = inner;
    if (
      typeof ch !== "number" ||
      typeof connection?.sendBytes !== "function" ||
      typeof connection.frameMax !== "number"
    ) {
      throw new TallyError(
        "unsupported",
        "this version of amqplib has another inside than the ones Tally was tested with (2.3): install amqplib ~2.3.1",
      );
    }
    return { number: ch, frameMax: connection.frameMax, write: (frames) => connection.sendBytes(frames) };
  }

  /** Turns publisher confirms on. */
  async confirmSelect(): Promise<void> {
    // The driver keeps a window of its own behind these events. It trusts every tag it is told, and grows by a slot for
    // each confirm that comes out of order; nobody asks it here, so it is not fed either.
    this.raw.removeAllListeners("ack");
    this.raw.removeAllListeners("nack");
    await (this.raw as unknown as Inner).rpc(CONFIRM_SELECT, { nowait: false }, CONFIRM_SELECT_OK);
  }

  /**
   * Resolves when the broker has done all that this channel had asked of it and has closed it, or is gone. A broker that
   * does not answer is given up by the heartbeat, so this ends; one that has an alarm keeps the heart beating and reads
   * nothing, so there it is not waited for: it reads the request when the alarm is over.
   */
  async close(): Promise<void> {
    if (this.#over) return;
    const alarm = Promise.withResolvers<void>();
    const unlisten = this.connection.listen({ blocked: () => alarm.resolve(), unblocked() {} });
    if (this.connection.blocked !== null) alarm.resolve();
    // It rejects when the channel is closing already, or was closed in between: what was wanted.
    const closed = this.raw.close().catch(() => this.#ended.promise);
    await Promise.race([closed, this.#ended.promise, alarm.promise]);
    unlisten();
  }

  #error(): TallyError {
    const reason = this.#reason ?? this.connection.reason;
    if (reason === null)
      return new TallyError("session-lost", `${this.connection.where}: the channel is closed`, { retryable: true });
    return classify(reason, this.connection.where, "open");
  }
}
