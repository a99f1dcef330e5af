/** What asks to be let into the window. */
export interface Admitted {
  readonly bytes: number;
  /** Called once, when there is room; synchronously from `enter` if there is room at once. */
  admitted(): void;
}

/**
 * The bound on messages without a final verdict, in count and bytes. Who finds it full waits; entry is in the order of
 * asking, whoever is smaller: otherwise a large message would wait for ever behind small ones, and a key's place would not
 * be that of its call.
 */
export class Window {
  readonly #count: number;
  readonly #bytes: number;
  #inside = 0;
  #insideBytes = 0;
  /** In the order of asking; those who gave up stay in it as null until their turn. */
  #waiting: (Admitted | null)[] = [];
  #head = 0;

  constructor(count: number, bytes: number) {
    this.#count = count;
    this.#bytes = bytes;
  }

  /** Messages inside. */
  get inside(): number {
    return this.#inside;
  }

  enter(who: Admitted): void {
    if (this.#head === this.#waiting.length && this.#fits(who)) this.#admit(who);
    else this.#waiting.push(who);
  }

  /** Takes a waiting one out of the line; false if it is not in it. */
  giveUp(who: Admitted): boolean {
    const at = this.#waiting.indexOf(who, this.#head);
    if (at < 0) return false;
    this.#waiting[at] = null;
    this.#next();
    return true;
  }

  leave(bytes: number): void {
    this.#inside--;
    this.#insideBytes -= bytes;
    if (this.#head < this.#waiting.length) this.#next();
  }

  #next(): void {
    while (this.#head < this.#waiting.length) {
      const who = this.#waiting[this.#head];
      if (who !== null && who !== undefined) {
        if (!this.#fits(who)) return;
        this.#waiting[this.#head] = null;
      }
      this.#head++;
      // Letting go of what was read, now and then, keeps both the array and the cost of it small.
      if (this.#head === this.#waiting.length || this.#head > 4096) {
        this.#waiting = this.#waiting.slice(this.#head);
        this.#head = 0;
      }
      if (who !== null && who !== undefined) this.#admit(who);
    }
  }

  #fits(who: Admitted): boolean {
    // One message is always let in: a body larger than the bound must not wait for ever.
    return this.#inside === 0 || (this.#inside < this.#count && this.#insideBytes + who.bytes <= this.#bytes);
  }

  #admit(who: Admitted): void {
    this.#inside++;
    this.#insideBytes += who.bytes;
    who.admitted();
  }
}
