import { Queue, type Queued } from "./queue.ts";

/** What asks to be let into the window. */
export interface Admitted extends Queued {
  readonly bytes: number;
}

/**
 * The bound on messages without a final verdict, in count and bytes. Who finds it full waits; entry is in the order of
 * asking, whoever is smaller: otherwise a large message would wait for ever behind small ones, and a key's place would not
 * be that of its call.
 */
export class Window<T extends Admitted> {
  readonly #count: number;
  readonly #bytes: number;
  readonly #admitted: (who: T) => void;
  readonly #waiting: Queue<T> = new Queue();
  #inside = 0;
  #insideBytes = 0;

  /** @param admitted Called once for each, when there is room; synchronously from `enter` if there is room at once. */
  constructor(count: number, bytes: number, admitted: (who: T) => void) {
    this.#count = count;
    this.#bytes = bytes;
    this.#admitted = admitted;
  }

  /** Messages inside. */
  get inside(): number {
    return this.#inside;
  }

  enter(who: T): void {
    if (this.#waiting.first === null && this.#fits(who)) this.#admit(who);
    else this.#waiting.push(who);
  }

  /** Ahead of all who wait: what comes out of the outbox has waited longer. */
  enterFirst(who: T): void {
    if (this.#fits(who)) this.#admit(who);
    else this.#waiting.unshift(who);
  }

  /** Takes a waiting one out of the line. */
  giveUp(who: T): void {
    this.#waiting.remove(who);
    this.#next();
  }

  leave(bytes: number): void {
    this.#inside--;
    this.#insideBytes -= bytes;
    this.#next();
  }

  #next(): void {
    for (let who = this.#waiting.first; who !== null && this.#fits(who); who = this.#waiting.first) {
      this.#waiting.remove(who);
      this.#admit(who);
    }
  }

  #fits(who: T): boolean {
    // One message is always let in: a body larger than the bound must not wait for ever.
    return this.#inside === 0 || (this.#inside < this.#count && this.#insideBytes + who.bytes <= this.#bytes);
  }

  #admit(who: T): void {
    this.#inside++;
    this.#insideBytes += who.bytes;
    this.#admitted(who);
  }
}
