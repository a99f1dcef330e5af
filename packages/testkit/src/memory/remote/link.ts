import { connect, type Socket } from "node:net";
import { describe, type ErrorCode, TallyError } from "@tallymq/core/spi";
import { encodeFrame, type Frame, FrameReader, text } from "../../broker/wire.ts";
import type { Address } from "../address.ts";

export interface LinkEvents {
  /** @throws WireError when it makes no sense: the link is then lost. */
  frame(frame: Frame): void;
  /** The connection is over, whoever ended it except `close` and `abandon`. Once. */
  lost(error: TallyError): void;
}

/** One connection to a broker process, after its hello. */
export class Link {
  readonly #socket: Socket;
  readonly #reader: FrameReader = new FrameReader();
  #events: LinkEvents | null = null;
  #early: Frame[] = [];
  #error: TallyError | null = null;
  #corked = false;
  /** By us: nothing more is heard or sent. */
  #closed = false;
  /** By the other side, or by what it sent. */
  #ended = false;

  private constructor(socket: Socket) {
    this.#socket = socket;
    socket.setNoDelay(true);
    socket.on("data", (chunk: Buffer) => this.#onData(chunk));
    socket.on("error", (error) => (this.#error ??= unreachable(error)));
    socket.on("close", () =>
      this.#end(this.#error ?? new TallyError("session-lost", "the broker ended the connection", { retryable: true })),
    );
  }

  /**
   * @param hello What the connection is for.
   * @throws TallyError `unreachable`, `unauthorized`, or what the broker answers
   */
  static open(address: Address, hello: Readonly<Record<string, unknown>>, signal: AbortSignal): Promise<Link> {
    return new Promise((resolve, reject) => {
      if (signal.aborted) return reject(signal.reason as Error);
      const link = new Link(connect(address));
      const onAbort = (): void => {
        link.abandon();
        reject(signal.reason as Error);
      };
      signal.addEventListener("abort", onAbort, { once: true });
      link.#events = {
        frame({ header }) {
          signal.removeEventListener("abort", onAbort);
          link.#events = null;
          if (header["t"] === "hello") return resolve(link);
          link.abandon();
          reject(new TallyError("unreachable", "what listens there is no broker of this kind"));
        },
        lost(error) {
          signal.removeEventListener("abort", onAbort);
          // A connection that ends before hello was no session: nothing was lost with it.
          reject(
            error.code === "session-lost"
              ? new TallyError("unreachable", "no hello from a broker", { retryable: true, cause: error })
              : error,
          );
        },
      };
      link.#socket.once("connect", () => link.send(encodeFrame(JSON.stringify({ t: "hello", v: 1, ...hello }))));
    });
  }

  /** Hands on what comes, and what has come since hello. */
  listen(events: LinkEvents): void {
    this.#events = events;
    const early = this.#early;
    this.#early = [];
    this.#take(() => early);
    // It may have ended between hello and here.
    if (this.#ended && this.#error !== null && this.#events !== null) {
      this.#events = null;
      events.lost(this.#error);
    }
  }

  /** What is sent in one tick leaves as one write. */
  send(frame: Buffer): void {
    if (this.#closed || this.#ended) return;
    if (!this.#corked) {
      this.#corked = true;
      this.#socket.cork();
      process.nextTick(() => {
        this.#corked = false;
        this.#socket.uncork();
      });
    }
    this.#socket.write(frame);
  }

  /** What was sent still leaves; nothing more is heard. */
  close(): void {
    this.#closed = true;
    this.#events = null;
    this.#socket.destroySoon();
  }

  /** At once. */
  abandon(): void {
    this.#closed = true;
    this.#events = null;
    this.#socket.destroy();
  }

  #onData(chunk: Buffer): void {
    if (!this.#closed && !this.#ended) this.#take(() => this.#reader.push(chunk));
  }

  #take(read: () => readonly Frame[]): void {
    try {
      for (const frame of read()) {
        if (this.#closed) return;
        if (this.#events === null) this.#early.push(frame);
        else this.#events.frame(frame);
      }
    } catch (thrown) {
      this.#socket.destroy();
      this.#end(
        TallyError.is(thrown)
          ? thrown
          : new TallyError("session-lost", `the broker sent nonsense: ${describe(thrown)}`, { retryable: true }),
      );
    }
  }

  #end(error: TallyError): void {
    if (this.#closed || this.#ended) return;
    this.#ended = true;
    this.#error = error;
    const events = this.#events;
    this.#events = null;
    events?.lost(error);
  }
}

const CODES: readonly ErrorCode[] = ["topology", "unsupported", "bad-config", "closed", "session-lost"];

/** An `error` frame as what it means here; a code that no broker sends is not passed on. */
export function errorOf(header: Readonly<Record<string, unknown>>): TallyError {
  const code = CODES.find((c) => c === header["code"]) ?? "refused";
  return new TallyError(code, text(header["message"]), { retryable: code === "closed" || code === "session-lost" });
}

function unreachable(error: Error & { code?: string }): TallyError {
  const denied = error.code === "EACCES" || error.code === "EPERM";
  // The system's own words may hold a path, never a secret: there are none here.
  return new TallyError(
    denied ? "unauthorized" : "unreachable",
    `the broker process: ${error.code ?? describe(error)}`,
    { retryable: !denied, cause: error },
  );
}
