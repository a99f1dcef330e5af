import { createConnection, createServer, type Server, type Socket } from "node:net";

/** Stands between clients and a broker on unix sockets: can end every connection, and hold back what the broker says. */
export class Relay {
  readonly #target: string;
  readonly #server: Server;
  readonly #links: Set<{ readonly client: Socket; readonly broker: Socket }> = new Set();
  #held = false;

  private constructor(target: string) {
    this.#target = target;
    this.#server = createServer((client) => this.#accept(client));
  }

  static async listen(path: string, target: string): Promise<Relay> {
    const relay = new Relay(target);
    await new Promise<void>((resolve, reject) => relay.#server.once("error", reject).listen(path, resolve));
    return relay;
  }

  cut(): void {
    for (const { client, broker } of this.#links) {
      client.destroy();
      broker.destroy();
    }
  }

  /** While held, connections stay open and nothing from the broker arrives. */
  hold(held: boolean): void {
    this.#held = held;
    for (const { broker } of this.#links) {
      if (held) broker.pause();
      else broker.resume();
    }
  }

  close(): void {
    this.#server.close();
    this.cut();
  }

  #accept(client: Socket): void {
    const broker = createConnection(this.#target);
    const link = { client, broker };
    this.#links.add(link);
    // No backpressure: tests move little, and `pause` is what holds the broker back.
    client.on("data", (bytes: Buffer) => void broker.write(bytes));
    broker.on("data", (bytes: Buffer) => void client.write(bytes));
    if (this.#held) broker.pause();
    for (const [socket, other] of [
      [client, broker],
      [broker, client],
    ] as const) {
      socket.on("error", () => {});
      socket.on("close", () => {
        this.#links.delete(link);
        other.end();
      });
    }
  }
}
