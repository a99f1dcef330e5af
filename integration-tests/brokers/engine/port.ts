import { createServer } from "node:net";

/**
 * Below the kernel's ephemeral range (32768 and up on Linux, 49152 elsewhere): while a killed broker is down, nobody's
 * outgoing connection and nobody's `listen(0)` can take its port.
 */
const FIRST = 20_000;
const COUNT = 10_000;

/** A loopback port that nobody listens on now. Another process may still be faster: callers retry. */
export async function freePort(): Promise<number> {
  for (let tries = 0; tries < 200; tries++) {
    const port = FIRST + Math.floor(Math.random() * COUNT);
    if (await isFree(port)) return port;
  }
  throw new Error(`no free port between ${FIRST} and ${FIRST + COUNT}`);
}

/** So many different ones. */
export async function freePorts(count: number): Promise<readonly number[]> {
  const ports = new Set<number>();
  while (ports.size < count) ports.add(await freePort());
  return [...ports];
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.on("error", () => resolve(false));
    server.listen(port, "127.0.0.1", () => server.close(() => resolve(true)));
  });
}
