import { BODY, encodeBody, encodeFrame, HEADER, METHOD } from "./frames.ts";
import type { Frame } from "./frames.ts";
import { decodeMethod, encodeMethod, methodNumbers } from "./methods.ts";
import type { Arguments, DecodedMethod } from "./methods.ts";
import { decodeHeader, encodeHeader } from "./properties.ts";
import type { DecodedProperties, Properties } from "./properties.ts";
import type { ServerConnection } from "./connection.ts";
import type { ReceivedPublish } from "./received.ts";

/** A `basic.consume` of the client. */
export interface ServerConsumer {
  readonly tag: string;
  readonly queue: string;
  readonly noAck: boolean;
  readonly exclusive: boolean;
  readonly args: DecodedMethod["args"];
}

/** A message to a consumer, for {@link ServerChannel.deliver}. */
export interface Delivery {
  /** Also one that was cancelled or never was: nothing is checked. */
  readonly consumerTag: string;
  /** @default the channel's next */
  readonly tag?: number | bigint;
  readonly redelivered?: boolean;
  readonly exchange?: string;
  readonly routingKey?: string;
  /** As bytes: property flags and values as they are to stand on the wire. @default none at all */
  readonly properties?: Properties | Uint8Array;
  /** @default empty */
  readonly body?: Uint8Array | string;
}

/**
 * The server's end of a channel. It says what it is told to, true or not: no tag, consumer or state is checked.
 */
export class ServerChannel {
  readonly id: number;
  readonly connection: ServerConnection;
  readonly consumers: Map<string, ServerConsumer> = new Map();
  /** The client has sent `confirm.select`. */
  confirming = false;
  /** What came since `tx.select`, the last commit or rollback; null on a channel without transactions. */
  transaction: ReceivedPublish[] | null = null;
  /** A `tx.commit` has no answer yet. */
  committing = false;
  /** open → closing (we closed it, the client has not answered) → closed */
  state: "open" | "closing" | "closed" = "open";
  /** `basic.qos` that came last. */
  prefetch = 0;
  /** Tag of the last delivery that `deliver` numbered. */
  delivered = 0;
  #published = 0;
  #content: {
    args: DecodedMethod["args"];
    size: number;
    properties: DecodedProperties;
    parts: Buffer[];
    got: number;
  } | null = null;

  constructor(connection: ServerConnection, id: number) {
    this.connection = connection;
    this.id = id;
  }

  /** Confirms a publish. Any tag, any time, any number of times; tag 0 with `multiple` means all that are open. */
  ack(tag: number | bigint, { multiple = false }: { multiple?: boolean } = {}): void {
    this.send("basic.ack", { deliveryTag: tag, multiple });
  }

  nack(tag: number | bigint, { multiple = false }: { multiple?: boolean } = {}): void {
    this.send("basic.nack", { deliveryTag: tag, multiple });
  }

  commitOk(): void {
    this.committing = false;
    this.send("tx.commit-ok");
  }

  /** Gives a publish back as unroutable. @default code 312, text "NO_ROUTE" */
  return(publish: ReceivedPublish, { code = 312, text = "NO_ROUTE" }: { code?: number; text?: string } = {}): void {
    const { exchange, routingKey, properties, body } = publish;
    this.sendContent("basic.return", { replyCode: code, replyText: text, exchange, routingKey }, properties, body);
  }

  /** Sends a message to a consumer and gives its delivery tag. */
  deliver(delivery: Delivery): number | bigint {
    const { consumerTag, redelivered = false, exchange = "", routingKey = "", properties = {}, body = "" } = delivery;
    const tag = delivery.tag ?? ++this.delivered;
    this.sendContent(
      "basic.deliver",
      { consumerTag, deliveryTag: tag, redelivered, exchange, routingKey },
      properties,
      Buffer.from(body),
    );
    return tag;
  }

  /** `basic.cancel` from the server, as when a queue is deleted. */
  cancel(consumerTag: string): void {
    this.consumers.delete(consumerTag);
    this.send("basic.cancel", { consumerTag, nowait: true });
  }

  /** Closes the channel, for `cause` (a method's name) if it is to have one. Publishes that come before the answer are discarded. */
  close(code: number, text: string, cause?: string): void {
    this.state = "closing";
    const { classId, methodId } = cause === undefined ? { classId: 0, methodId: 0 } : methodNumbers(cause);
    this.send("channel.close", { replyCode: code, replyText: text, classId, methodId });
  }

  /** Any method at all, such as an answer that nobody asked for. */
  send(method: string, args: Arguments = {}): void {
    this.connection.sendRaw(encodeFrame(METHOD, this.id, encodeMethod(method, args)));
  }

  /** Any method with content. */
  sendContent(method: string, args: Arguments, properties: Properties | Uint8Array, body: Buffer): void {
    const head = [
      encodeFrame(METHOD, this.id, encodeMethod(method, args)),
      encodeFrame(HEADER, this.id, encodeHeader(body.length, properties)),
    ];
    this.connection.sendRaw(Buffer.concat([...head, encodeBody(this.id, body, this.connection.frameMax)]));
  }

  /** Keeps the books of its transactions; gives what a commit is for, or null. */
  transact(method: string): readonly ReceivedPublish[] | null {
    if (method === "tx.select") this.transaction ??= [];
    if ((method !== "tx.commit" && method !== "tx.rollback") || this.transaction === null) return null;
    const taken = this.transaction;
    this.transaction = [];
    this.committing = method === "tx.commit";
    return this.committing ? taken : null;
  }

  /** Takes in a frame of the client: a method to answer, a publish that is now whole, or null. */
  accept(frame: Frame): DecodedMethod | ReceivedPublish | null {
    if (frame.type === METHOD) {
      const method = decodeMethod(frame.payload);
      if (method.name === "confirm.select") {
        this.confirming = true;
        this.#published = 0;
      }
      if (method.name !== "basic.publish") return method;
      this.#content = { args: method.args, size: -1, properties: {}, parts: [], got: 0 };
      return null;
    }
    const content = this.#content;
    if (content === null) throw new RangeError("content without a method");
    if (frame.type === HEADER) Object.assign(content, decodeHeader(frame.payload));
    else if (frame.type === BODY) {
      content.parts.push(Buffer.from(frame.payload));
      content.got += frame.payload.length;
    }
    if (content.size < 0 || content.got < content.size) return null;
    this.#content = null;
    const { args, properties, parts } = content;
    return {
      kind: "publish",
      connection: this.connection.index,
      channel: this.id,
      tag: this.confirming ? ++this.#published : 0,
      exchange: args["exchange"] as string,
      routingKey: args["routingKey"] as string,
      mandatory: args["mandatory"] === true,
      immediate: args["immediate"] === true,
      properties,
      headers: properties.headers ?? Object.create(null),
      body: Buffer.concat(parts),
      discarded: this.state !== "open",
    };
  }
}
