import { connect, type Socket } from "node:net";
import { createServer, type SecureVersion, type Server } from "node:tls";
import { freePort } from "../engine/port.ts";
import type { Identity } from "./certificates.ts";

/** TLS in front of a plain port: a broker whose certificate is whatever a test wants it to be. */
export interface TlsFront extends AsyncDisposable {
  readonly port: number;
  /** Another certificate from now on; connections that are open are cut. */
  show(identity: Identity): Promise<void>;
}

export interface TlsFrontOptions {
  /** The newest version that it speaks. @default TLSv1.3 */
  readonly newest?: SecureVersion;
}

/** @param target A loopback port. */
export async function startTlsFront(target: number, identity: Identity, o: TlsFrontOptions = {}): Promise<TlsFront> {
  const port = await freePort();
  const sockets = new Set<Socket>();
  let server: Server | null = null;

  const end = async (): Promise<void> => {
    const ended = new Promise<void>((resolve) => (server === null ? resolve() : server.close(() => resolve())));
    for (const socket of sockets) socket.destroy();
    await ended;
  };
  const show = async (own: Identity): Promise<void> => {
    await end();
    // Versions before 1.2 need ciphers that OpenSSL leaves out by itself.
    const old = o.newest === undefined ? {} : { maxVersion: o.newest, minVersion: "TLSv1", ciphers: "ALL@SECLEVEL=0" };
    const next = createServer({ ...own, ...old } as object, (client) => {
      const broker = connect(target, "127.0.0.1");
      for (const socket of [client, broker]) {
        sockets.add(socket);
        socket.on("error", () => {}).on("close", () => sockets.delete(socket));
      }
      client.pipe(broker).pipe(client);
      client.on("close", () => broker.destroy());
      broker.on("close", () => client.destroy());
    });
    next.on("tlsClientError", () => {});
    await new Promise<void>((resolve, reject) => {
      next.once("error", reject);
      next.listen(port, "127.0.0.1", () => resolve());
    });
    server = next;
  };
  await show(identity);
  return { port, show, [Symbol.asyncDispose]: end };
}
