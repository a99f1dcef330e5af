import type { Channel } from "amqplib";
import { TallyError } from "@tallymq/core/spi";
import type { RabbitConnection } from "./connection.ts";
import { classify } from "./errors.ts";

/**
 * What amqplib 2.3 has below its typed surface and this adapter uses; looked at when a channel opens, never assumed.
 * - `rpc` sends any method by its number: the typed surface has no `confirm.select` for a plain channel, and no transactions.
 *   `_rpc` calls back in the order of the wire: some microtasks later the channel's end could stand before a commit's answer.
 * - `sendBytes` writes whole frames, behind all that was written before. The typed `publish` encodes each message in
 *   four buffers and passes it through three streams, which costs several times what the frames themselves do.
 */
interface Inner {
  readonly ch: number;
  readonly connection: { readonly frameMax: number; sendBytes(bytes: Uint8Array): void };
  rpc(method: number, fields: object, expect: number): Promise<unknown>;
  _rpc(method: number, fields: object, expect: number, answered: (error: unknown) => void): void;
}

const CONFIRM_SELECT = 0x55000a;
const CONFIRM_SELECT_OK = 0x55000b;
const TX_SELECT = 0x5a000a;
const TX_SELECT_OK = 0x5a000b;
const TX_COMMIT = 0x5a0014;
const TX_COMMIT_OK = 0x5a0015;
// Class and method, as the broker names what it closes a channel for.
const CAUSES: ReadonlyMap<number, Cause> = new Map([
  [0x3c0028, "basic.publish"],
  [TX_COMMIT, "tx.commit"],
]);

/** Of a sender's methods, that for which the broker closed the channel. */
export type Cause = "basic.publish" | "tx.commit";

/** One channel of the driver, with an `error` listener, and one place that says when and why it ended. */
export class RabbitChannel {
  readonly raw: Channel;
  readonly connection: RabbitConnection;
  #onEnd: ((error: TallyError) => void) | null = null;
  /** It has ended, and nobody was there to hear it. */
  #unheard = false;
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
      queueMicrotask(() => this.#tell());
    });
  }

  /**
   * Called once when the channel ended, whoever ended it. The channel is {@link over} some microtasks before. Who listens only
   * now hears of an earlier end too: it is read together with the last answer, before anybody who waits for that goes on.
   */
  set onEnd(listener: ((error: TallyError) => void) | null) {
    this.#onEnd = listener;
    if (listener === null || !this.#unheard) return;
    this.#unheard = false;
    queueMicrotask(() => this.#tell());
  }

  get over(): boolean {
    return this.#over;
  }

  /** Resolves when it is {@link over}. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** The method for which the broker closed the channel, where it is one of a sender's; null otherwise, and before. */
  get closedFor(): Cause | null {
    const { classId, methodId } = (this.#reason ?? {}) as { readonly classId?: unknown; readonly methodId?: unknown };
    return CAUSES.get(Number(classId) * 65_536 + Number(methodId)) ?? null;
  }

  /** That of the broker's close; null where it has not closed the channel. */
  get replyCode(): number | null {
    const { code } = (this.#reason ?? {}) as { readonly code?: unknown };
    return typeof code === "number" ? code : null;
  }

  /** The channel's number and the largest frame, for those who write frames themselves. @throws TallyError `unsupported` */
  get wire(): { readonly number: number; readonly frameMax: number; write(frames: Uint8Array): void } {
    const inner = this.raw as unknown as Partial<Inner>;
    const { ch, connection } = inner;
    if (
      typeof ch !== "number" ||
      typeof connection?.sendBytes !== "function" ||
      typeof inner._rpc !== "function" ||
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

  /** Turns transactions on; they exclude confirms. */
  async txSelect(): Promise<void> {
    await (this.raw as unknown as Inner).rpc(TX_SELECT, {}, TX_SELECT_OK);
  }

  /** Goes behind all frames that were written. Without an answer the channel has ended, and `onEnd` has the reason. */
  txCommit(done: () => void): void {
    (this.raw as unknown as Inner)._rpc(TX_COMMIT, {}, TX_COMMIT_OK, (error) => {
      if (error === null) done();
    });
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

  #tell(): void {
    if (this.#onEnd === null) this.#unheard = true;
    else this.#onEnd(this.#error());
  }

  #error(): TallyError {
    const reason = this.#reason ?? this.connection.reason;
    if (reason === null)
      return new TallyError("session-lost", `${this.connection.where}: the channel is closed`, { retryable: true });
    return classify(reason, this.connection.where, "open");
  }
}
