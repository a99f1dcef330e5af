import type { Socket } from "node:net";
import { describe, TallyError } from "@tallymq/core/spi";
import { encodeFrame, type Frame, FrameReader, text, WireError } from "../wire.ts";
import { AdminSession } from "./admin.ts";
import { ReceiverSession } from "./receiver.ts";
import { SenderSession } from "./sender.ts";
import { errorFrame, type Line, type Session } from "./session.ts";
import type { Store } from "./store.ts";

/** Beyond so many bytes that a client does not read, nothing more is read from it. */
const UNREAD = 8 * 1024 * 1024;

/** One client's connection: hello first, then frames for its session. Whatever breaks the rules ends it, and only it. */
export class Connection implements Line {
  readonly store: Store;
  readonly #socket: Socket;
  readonly #reader: FrameReader = new FrameReader();
  readonly #all: Set<Connection>;
  readonly #holds: Set<string> = new Set();
  #session: Session | null = null;

  constructor(socket: Socket, store: Store, all: Set<Connection>) {
    this.store = store;
    this.#socket = socket;
    this.#all = all;
    all.add(this);
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#onData(chunk));
    socket.on("drain", () => this.#hold("unread", false));
    // A reset is an end like any other: "close" follows.
    socket.on("error", () => {});
    socket.on("close", () => {
      all.delete(this);
      this.#session?.gone();
      this.#session = null;
    });
  }

  send(frame: Buffer): void {
    if (this.#socket.destroyed) return;
    this.#socket.write(frame);
    if (this.#socket.writableLength > UNREAD) this.#hold("unread", true);
  }

  hold(reason: "blocked" | "disk", on: boolean): void {
    this.#hold(reason, on);
  }

  cutOthers(): number {
    const others = [...this.#all].filter((c) => c !== this);
    for (const other of others) other.cut();
    return others.length;
  }

  cut(): void {
    this.#socket.destroy();
  }

  #hold(reason: string, on: boolean): void {
    if (on) this.#holds.add(reason);
    else this.#holds.delete(reason);
    if (this.#holds.size > 0) this.#socket.pause();
    else this.#socket.resume();
  }

  #onData(chunk: Buffer): void {
    try {
      for (const frame of this.#reader.push(chunk)) {
        if (this.#socket.destroyed) return;
        if (this.#session === null) this.#hello(frame);
        else this.#session.frame(frame);
      }
    } catch (thrown) {
      this.#refuse(thrown);
    }
  }

  #hello({ header }: Frame): void {
    if (header["t"] !== "hello" || header["v"] !== 1) throw new WireError("no hello");
    const role = text(header["role"]);
    if (role !== "sender" && role !== "receiver" && role !== "admin") throw new WireError("an unknown role");
    // Joining can fail (no such group), and after it deliveries may come at once: so hello stands before both.
    this.send(encodeFrame(`{"t":"hello","v":1,"pid":${process.pid}}`));
    if (role === "sender") this.#session = new SenderSession(this);
    else if (role === "receiver") this.#session = new ReceiverSession(this, header);
    else this.#session = new AdminSession(this);
  }

  /** Says why, if the client's request was readable, and hangs up. */
  #refuse(thrown: unknown): void {
    if (TallyError.is(thrown)) this.send(errorFrame(thrown));
    else if (!(thrown instanceof WireError))
      process.stderr.write(`tally broker: a connection failed: ${describe(thrown)}\n`);
    this.#socket.destroySoon();
    this.#socket.removeAllListeners("data");
    this.#socket.resume();
  }
}
