import { chmodSync, existsSync, mkdirSync, unlinkSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { type Clock, TallyError } from "@tallymq/core/spi";
import { type Address, parseAddress } from "../../memory/address.ts";
import type { RecoveryReport } from "../log/recover.ts";
import { Connection } from "./connection.ts";
import { lockDirectory } from "./lock.ts";
import { Store } from "./store.ts";

export interface ServeOptions {
  readonly at: string;
  readonly dataDir: string;
  readonly clock: Clock;
  readonly maxBacklog: number;
  readonly deliveryLimit: number;
  /** The disk refused. */
  readonly failed: (error: unknown) => void;
}

export interface Served {
  readonly report: RecoveryReport;
  /** Ends all connections, writes what is left, gives the directory back. */
  close(): Promise<void>;
}

/** Opens the log and listens. @throws TallyError `bad-config` when address or directory are not this process's to use */
export async function serve(options: ServeOptions): Promise<Served> {
  const address = parseAddress("at", options.at);
  mkdirSync(options.dataDir, { recursive: true, mode: 0o700 });
  const unlock = lockDirectory(options.dataDir);
  try {
    const store = new Store(options);
    const connections = new Set<Connection>();
    const server = createServer((socket) => new Connection(socket, store, connections));
    await listen(server, address);
    return {
      report: store.report,
      async close() {
        server.close();
        for (const connection of connections) connection.cut();
        await store.close();
        unlock();
      },
    };
  } catch (error) {
    unlock();
    throw error;
  }
}

async function listen(server: Server, address: Address): Promise<void> {
  if ("path" in address && existsSync(address.path)) {
    if (await answers(address)) throw new TallyError("bad-config", "another process listens on this unix socket");
    unlinkSync(address.path);
  }
  // From its first moment the socket is its owner's only: a mode set afterwards would leave a gap.
  const umask = process.umask(0o177);
  try {
    await new Promise<void>((resolve, reject) => {
      server.once("error", reject);
      server.listen(address, () => {
        server.off("error", reject);
        resolve();
      });
    });
    if ("path" in address) chmodSync(address.path, 0o600);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== "EADDRINUSE") throw error;
    throw new TallyError("bad-config", "another process listens on this address", { cause: error });
  } finally {
    process.umask(umask);
  }
}

function answers(address: Address): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(address);
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}
