// The one importer of node: in this package: no client library speaks the admin protocol.
import { createConnection } from "node:net";

/** Bytes to and from a server. */
export interface Wire {
  write(bytes: Uint8Array): void;
  /** Ends it, without a word to `ended`. */
  close(): void;
}

export interface WireEvents {
  bytes(chunk: Uint8Array): void;
  /** Once. */
  ended(thrown: Error): void;
}

/** @param signal Nobody waits for the connection any more; without a meaning once it stands. */
export type Dial = (host: string, port: number, events: WireEvents, signal: AbortSignal) => Promise<Wire>;

/**
 * Resolves when the connection stands; rejects when none comes about. The caller times it: a host that answers nothing would
 * be asked for minutes, and keep the process alive.
 */
export const dialTcp: Dial = (host, port, events, signal) =>
  new Promise((resolve, reject) => {
    const socket = createConnection({ host, port, noDelay: true });
    let open = false;
    let over = false;
    const end = (error: Error): void => {
      if (over) return;
      over = true;
      socket.destroy();
      signal.removeEventListener("abort", onAbort);
      if (open) events.ended(error);
      else reject(error);
    };
    const onAbort = (): void => end(signal.reason as Error);
    signal.addEventListener("abort", onAbort, { once: true });
    socket.on("connect", () => {
      if (over) return;
      open = true;
      signal.removeEventListener("abort", onAbort);
      resolve({
        write: (bytes) => void socket.write(bytes),
        close() {
          over = true;
          socket.destroy();
        },
      });
    });
    socket.on("data", (chunk: Uint8Array) => {
      if (!over) events.bytes(chunk);
    });
    socket.on("error", end);
    socket.on("close", () => end(new Error(`${host}:${port} has closed the connection`)));
    if (signal.aborted) onAbort();
  });
