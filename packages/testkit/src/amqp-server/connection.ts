// One end of one connection: its handshake, its faults, and what it hands on to channels share the socket and its state.
import type { Socket } from "node:net";
import { answer } from "./answers.ts";
import { ServerChannel } from "./channel.ts";
import { encodeFrame, FrameParser, HEARTBEAT, MALFORMED, METHOD } from "./frames.ts";
import type { Frame, Malformed } from "./frames.ts";
import type { DecodedTable, FieldTable } from "./fields.ts";
import { decodeMethod, encodeMethod, methodNumbers } from "./methods.ts";
import type { Arguments, DecodedMethod } from "./methods.ts";
import type { Received, ReceivedSettlement } from "./received.ts";
import type { AmqpScript } from "./script.ts";

/** What the server proposes in its handshake. */
export interface Handshake {
  /** @default 2047 */
  readonly channelMax: number;
  /** Bytes, 0 for no limit. @default 131072 */
  readonly frameMax: number;
  /** Seconds, 0 for none. @default 60 */
  readonly heartbeat: number;
  /** Separated by blanks. @default "PLAIN AMQPLAIN" */
  readonly mechanisms: string;
  readonly serverProperties: FieldTable;
}

/** What a connection needs from its server. */
export interface Host {
  readonly handshake: Handshake;
  readonly script: () => AmqpScript;
  readonly record: (received: Received) => void;
  readonly fail: (error: unknown) => void;
}

const PROTOCOL = Buffer.from("AMQP\x00\x00\x09\x01", "latin1");
/** Arguments of connection methods that no record keeps. */
const SECRETS = ["response", "newSecret"];
const SETTLEMENTS: Readonly<Record<string, ReceivedSettlement["kind"]>> = {
  "basic.ack": "ack",
  "basic.nack": "nack",
  "basic.reject": "reject",
};

/** The server's end of a connection. */
export class ServerConnection {
  /** 0 for the server's first connection, then 1 … */
  readonly index: number;
  /** Channels that the client has open now, by number. */
  readonly channels: Map<number, ServerChannel> = new Map();
  readonly closed: Promise<void>;
  clientProperties: DecodedTable = Object.create(null);
  user = "";
  virtualHost = "";
  frameMax: number;
  heartbeat = 0;
  /** handshake → open → closing (one side has said close) → closed (no socket) */
  state: "handshake" | "open" | "closing" | "closed" = "handshake";
  readonly #socket: Socket;
  readonly #host: Host;
  readonly #parser: FrameParser = new FrameParser();
  #greeted = false;
  #mute = false;
  #mayReceive = Infinity;
  #maySend = Infinity;
  #beat: NodeJS.Timeout | undefined;
  #secret = "";

  constructor(index: number, socket: Socket, host: Host) {
    this.index = index;
    this.#socket = socket;
    this.#host = host;
    this.frameMax = host.handshake.frameMax;
    this.closed = new Promise((resolve) => {
      const gone = (): void => {
        if (this.state === "closed") return;
        clearInterval(this.#beat);
        this.state = "closed";
        host.record({ kind: "end", connection: index });
        resolve();
      };
      socket.once("close", gone);
      socket.on("error", gone); // a reset that the system refuses has no "close" behind it
    });
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#data(chunk));
  }

  /** Whether the password that the client gave last, at login or in an update, is this one: records keep none. */
  secretIs(secret: string): boolean {
    return this.#secret === secret;
  }

  /** The channel that the client opened under this number. @throws RangeError when there is none */
  channel(id: number): ServerChannel {
    const channel = this.channels.get(id);
    if (channel === undefined) throw new RangeError(`connection ${this.index} has no open channel ${id}`);
    return channel;
  }

  /** An alarm, as RabbitMQ tells it. */
  blocked(reason: string): void {
    this.send("connection.blocked", { reason });
  }

  unblocked(): void {
    this.send("connection.unblocked");
  }

  /** Closes with a code, for `cause` (a method's name) if it is to have one. The socket ends with the client's answer. */
  close(code: number, text: string, cause?: string): void {
    this.state = "closing";
    const { classId, methodId } = cause === undefined ? { classId: 0, methodId: 0 } : methodNumbers(cause);
    this.send("connection.close", { replyCode: code, replyText: text, classId, methodId });
  }

  /** Ends the socket without a word: a reset, or (`reset: false`) an end of the stream. */
  drop({ reset = true }: { reset?: boolean } = {}): void {
    if (!reset || this.#socket.writableEnded) return void this.#socket.destroy();
    this.#socket.resetAndDestroy();
  }

  /** Takes in this many more bytes, then drops: what they completed was received, the rest was not. */
  dropAfterReceiving(bytes: number): void {
    this.#mayReceive = bytes;
    if (bytes === 0) this.drop();
  }

  /** Sends this many more bytes, then ends the stream: the client gets exactly these. */
  dropAfterSending(bytes: number): void {
    this.#maySend = bytes;
    if (bytes === 0) this.drop({ reset: false });
  }

  /** Goes on reading and recording, and says nothing any more, heartbeats included: a half-open connection. */
  mute(): void {
    this.#mute = true;
  }

  unmute(): void {
    this.#mute = false;
  }

  /** Stops reading, so that the client's writes pile up: a broker that is stopped or under memory pressure. */
  freeze(): void {
    this.#mute = true;
    this.#socket.pause();
  }

  thaw(): void {
    this.#mute = false;
    this.#socket.resume();
  }

  /** Any method on channel 0. */
  send(method: string, args: Arguments = {}): void {
    this.sendRaw(encodeFrame(METHOD, 0, encodeMethod(method, args)));
  }

  sendMalformed(name: Malformed, channel: number = 1): void {
    this.sendRaw(MALFORMED[name](channel));
  }

  sendFrame(type: number, channel: number, payload: Uint8Array): void {
    this.sendRaw(encodeFrame(type, channel, payload));
  }

  /** Any bytes at all. */
  sendRaw(bytes: Uint8Array): void {
    if (this.#mute || this.#socket.destroyed || this.#socket.writableEnded) return;
    if (bytes.length < this.#maySend) {
      this.#maySend -= bytes.length;
      this.#socket.write(bytes);
    } else {
      const last = bytes.subarray(0, this.#maySend);
      this.#maySend = 0;
      this.#socket.end(last, () => this.#socket.destroy());
    }
  }

  #data(chunk: Buffer): void {
    const last = chunk.length >= this.#mayReceive;
    const taken = last ? chunk.subarray(0, this.#mayReceive) : chunk;
    this.#mayReceive -= taken.length;
    try {
      this.#take(taken);
    } catch (error) {
      // The client's bytes are wrong, or the script's hook threw: both are the test's to hear.
      this.#host.fail(error);
      this.drop();
    }
    if (last) this.drop();
  }

  #take(chunk: Buffer): void {
    if (!this.#greeted) {
      const greeting = this.#parser.take(chunk, PROTOCOL.length);
      if (greeting === null) return;
      if (!greeting.equals(PROTOCOL)) return void this.#socket.end(PROTOCOL); // as the protocol says
      this.#greeted = true;
      const { serverProperties, mechanisms } = this.#host.handshake;
      this.send("connection.start", {
        versionMajor: 0,
        versionMinor: 9,
        serverProperties,
        mechanisms,
        locales: "en_US",
      });
      chunk = Buffer.alloc(0);
    }
    for (const frame of this.#parser.push(chunk)) {
      if (this.#socket.destroyed) return; // a hook has dropped it: the rest was not received
      if (frame.type === HEARTBEAT) this.#host.record({ kind: "heartbeat", connection: this.index });
      else if (frame.channel === 0) this.#onConnection(decodeMethod(frame.payload));
      else this.#onChannel(frame);
    }
  }

  #onConnection(method: DecodedMethod): void {
    const { name, args } = method;
    const { handshake } = this.#host;
    if (name === "connection.start-ok") {
      this.clientProperties = args["clientProperties"] as DecodedTable;
      [, this.user = "", this.#secret = ""] = (args["response"] as string).split("\0");
    } else if (name === "connection.update-secret") {
      this.#secret = args["newSecret"] as string;
    } else if (name === "connection.tune-ok") {
      this.frameMax = args["frameMax"] as number;
      this.heartbeat = args["heartbeat"] as number;
      if (this.heartbeat > 0) {
        this.#beat = setInterval(() => this.sendFrame(HEARTBEAT, 0, Buffer.alloc(0)), this.heartbeat * 500).unref();
      }
    } else if (name === "connection.open") {
      this.virtualHost = args["virtualHost"] as string;
    }
    const shown = { name, args: { ...args } };
    for (const secret of SECRETS) if (Object.hasOwn(shown.args, secret)) shown.args[secret] = "";
    if (this.#tellMethod(shown, null) === "handled") return;
    switch (name) {
      case "connection.start-ok":
        return this.send("connection.tune", {
          channelMax: handshake.channelMax,
          frameMax: handshake.frameMax,
          heartbeat: handshake.heartbeat,
        });
      case "connection.open":
        if (this.#host.script().onOpen?.(this) === "handled") return;
        this.state = "open";
        return this.send("connection.open-ok");
      case "connection.update-secret":
        return this.send("connection.update-secret-ok");
      case "connection.close":
        this.state = "closing";
        this.send("connection.close-ok");
        if (!this.#mute) this.#socket.end();
        return;
      case "connection.close-ok":
        this.#socket.end();
        return;
    }
  }

  #onChannel(frame: Frame): void {
    let channel = this.channels.get(frame.channel);
    if (channel === undefined) {
      channel = new ServerChannel(this, frame.channel);
      this.channels.set(frame.channel, channel);
    }
    const came = channel.accept(frame);
    if (came === null) return;
    const script = this.#host.script();
    if ("kind" in came) {
      this.#host.record(came);
      if (came.discarded) return;
      if (channel.committing) return this.#tooEarly();
      channel.transaction?.push(came);
      if (script.onPublish !== undefined) script.onPublish(came, channel);
      else if (channel.confirming) channel.ack(came.tag);
      return;
    }
    const settles = SETTLEMENTS[came.name];
    if (settles !== undefined) return this.#settled(settles, came, channel);
    if (came.name === "channel.close-ok") channel.state = "closed";
    const handled = this.#tellMethod(came, channel) === "handled";
    const committed = channel.state === "open" ? channel.transact(came.name) : null;
    if (committed !== null) {
      if (handled) return;
      if (script.onCommit === undefined) channel.commitOk();
      else script.onCommit(committed, channel);
      return;
    }
    // A channel that we are closing hears nothing but its close.
    if (!handled && (channel.state === "open" || came.name === "channel.close")) answer(came, channel);
    if (channel.state === "closed") this.channels.delete(channel.id);
    if (!handled && came.name === "basic.consume" && channel.state === "open") {
      const consumer = [...channel.consumers.values()].at(-1);
      if (consumer !== undefined) script.onConsume?.(consumer, channel);
    }
  }

  /** As RabbitMQ answers whoever publishes before a commit is answered: the connection ends, with all its channels. */
  #tooEarly(): void {
    this.close(504, "CHANNEL_ERROR - unexpected command while processing 'tx.commit'");
  }

  #tellMethod(method: DecodedMethod, channel: ServerChannel | null): "handled" | void {
    const received = { kind: "method", connection: this.index, channel: channel?.id ?? 0, ...method } as const;
    this.#host.record(received);
    return this.#host.script().onMethod?.(received, this, channel);
  }

  #settled(kind: ReceivedSettlement["kind"], { args }: DecodedMethod, channel: ServerChannel): void {
    const settlement: ReceivedSettlement = {
      kind,
      connection: this.index,
      channel: channel.id,
      tag: Number(args["deliveryTag"]),
      multiple: args["multiple"] === true,
      requeue: args["requeue"] === true,
      discarded: channel.state !== "open",
    };
    this.#host.record(settlement);
    if (!settlement.discarded) this.#host.script().onSettle?.(settlement, channel);
  }
}
