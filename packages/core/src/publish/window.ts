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
  readonly #keepsOut: (who: T) => boolean;
  readonly #waiting: Queue<T> = new Queue();
  #inside = 0;
  #insideBytes = 0;

  /**
   * @param admitted Called once for each, when there is room; synchronously from `enter` if there is room at once.
   * @param keepsOut Asked of each when its turn has come: true, and it is somebody else's, in no line of the window.
   */
  constructor(count: number, bytes: number, admitted: (who: T) => void, keepsOut: (who: T) => boolean = () => false) {
    this.#count = count;
    this.#bytes = bytes;
    this.#admitted = admitted;
    this.#keepsOut = keepsOut;
  }

  /** Messages inside. */
  get inside(): number {
    return this.#inside;
  }

  enter(who: T): void {
    // Behind others it waits for its turn, also if it will be kept out then: those before it come there first.
    if (this.#waiting.first !== null) this.#waiting.push(who);
    else if (this.#keepsOut(who)) return;
    else if (this.#fits(who)) this.#admit(who);
    else this.#waiting.push(who);
  }

  /**
   * At once, though the window be full: what comes out of the outbox has waited longer, and those inside may be waiting for
   * it. It is in memory already, and its relay has a bound of its own.
   */
  enterFirst(who: T): void {
    this.#admit(who);
  }

  /** Takes one that is not inside out of the line in which it waits. */
  giveUp(who: T): void {
    who.queue?.remove(who);
    this.#next();
  }

  leave(bytes: number): void {
    this.#inside--;
    this.#insideBytes -= bytes;
    this.#next();
  }

  #next(): void {
    for (let who = this.#waiting.first; who !== null && this.#fits(who); who = this.#waiting.first) {
      who.queue?.remove(who);
      if (!this.#keepsOut(who)) this.#admit(who);
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
