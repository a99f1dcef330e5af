import type { Socket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import type { Budget, Fault, Side } from "./proxy.ts";

export interface Wire {
  fault(): Fault;
  budget(): Budget | null;
  carried(side: Side, bytes: number): void;
  spent(): void;
  closed(): void;
}

/** One client's connection and ours to the broker. Each direction is a loop that asks the wire before each piece. */
export class Link {
  readonly #client: Socket;
  readonly #broker: Socket;
  readonly #wire: Wire;
  #ended = false;
  #wakers: (() => void)[] = [];

  constructor(client: Socket, broker: Socket, wire: Wire) {
    this.#client = client;
    this.#broker = broker;
    this.#wire = wire;
    // Errors are the peers' business: each is followed by `close`, and a close of one side resets the other.
    for (const socket of [client, broker]) socket.on("error", () => {}).on("close", () => this.#end());
    broker.on("connect", () => {
      void this.#carry("client", client, broker);
      void this.#carry("broker", broker, client);
    });
  }

  /** RST to both sides: whatever is still held here is lost. */
  reset(): void {
    this.#client.resetAndDestroy();
    this.#broker.resetAndDestroy();
    this.#end();
  }

  /** The wire changed. */
  wake(): void {
    const wakers = this.#wakers;
    this.#wakers = [];
    for (const waker of wakers) waker();
  }

  async #carry(side: Side, from: Socket, to: Socket): Promise<void> {
    from.on("readable", () => this.wake()).on("end", () => this.wake());
    while (!this.#ended) {
      const { held, slow } = this.#wire.fault();
      if (held === side || held === "both") {
        await this.#woken();
        continue;
      }
      const piece = this.#read(side, from, slow?.slice ?? Number.POSITIVE_INFINITY);
      if (piece === null) {
        // A FIN passes like any byte: only when the wire is open, and after all that came before it.
        if (from.readableEnded) return void to.end();
        await this.#woken();
        continue;
      }
      await written(to, piece);
      this.#wire.carried(side, piece.length);
      if (this.#spend(side, piece.length)) return;
      if (slow !== null) await sleep((piece.length / slow.bytesPerSecond) * 1_000);
    }
  }

  #read(side: Side, from: Socket, slice: number): Buffer | null {
    const budget = this.#wire.budget();
    const most = Math.min(slice, budget?.from === side ? budget.left : Number.POSITIVE_INFINITY, from.readableLength);
    // `read(n)` answers null when less is there; `read()` with nothing there also tells the stream to ask for more.
    return (most > 0 ? from.read(most) : from.read()) as Buffer | null;
  }

  #spend(side: Side, bytes: number): boolean {
    const budget = this.#wire.budget();
    if (budget?.from !== side) return false;
    budget.left -= bytes;
    if (budget.left > 0) return false;
    // The bytes that were promised have to arrive: a reset could overtake them, an orderly end cannot.
    this.#broker.end();
    this.#client.resetAndDestroy();
    this.#wire.spent();
    return true;
  }

  #woken(): Promise<void> {
    return this.#ended ? Promise.resolve() : new Promise((resolve) => this.#wakers.push(resolve));
  }

  #end(): void {
    if (this.#ended) return;
    this.#ended = true;
    for (const socket of [this.#client, this.#broker])
      if (!socket.destroyed && !socket.writableEnded) socket.resetAndDestroy();
    this.wake();
    this.#wire.closed();
  }
}

function written(to: Socket, piece: Buffer): Promise<void> {
  return new Promise((resolve) => {
    // Also called with an error when the socket is gone; the loop sees that by itself.
    to.write(piece, () => resolve());
  });
}
