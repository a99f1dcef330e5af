import type { Outgoing, Verdict } from "@tallymq/core/spi";

/** What was given to `send` together. */
export interface Sent {
  readonly batch: readonly Outgoing[];
  readonly verdict: (index: number, verdict: Verdict) => void;
}

const OPEN = 1;
const RETURNED = 2;
const SETTLED = 0;
const SMALLEST = 1_024;

/**
 * Which delivery tag belongs to which copy: a ring over [low, next), in arrays that grow to the window and stay.
 *
 * The driver's own window trusts the broker: a `multiple` with tag 0 resets it, an ack for a tag that was never
 * published misaligns it, and then one message's confirm resolves another. Here a tag that cannot be is answered with
 * `false`, and whoever hears that drops the channel.
 */
export class ConfirmRing {
  #sent: (Sent | undefined)[] = new Array<Sent | undefined>(SMALLEST);
  #index: Uint32Array = new Uint32Array(SMALLEST);
  #state: Uint8Array = new Uint8Array(SMALLEST);
  #mask = SMALLEST - 1;
  /** The lowest tag that is not settled; tags count from 1. */
  #low = 1;
  #next = 1;
  /** Where the search for a returned message begins: returns mostly come in the order of the publishes. */
  #returns = 1;

  /** Takes the next tag for this copy. */
  add(sent: Sent, index: number): void {
    if (this.#next - this.#low > this.#mask) this.#grow();
    const at = this.#next++ & this.#mask;
    this.#sent[at] = sent;
    this.#index[at] = index;
    this.#state[at] = OPEN;
  }

  /**
   * Gives each copy that this confirm covers its verdict, but not those that were returned: they have theirs.
   * @returns false when the tag cannot be: outside [low, next), or settled already.
   */
  confirm(tag: number, multiple: boolean, verdict: Verdict | ((message: Outgoing) => Verdict)): boolean {
    if (!(tag >= this.#low && tag < this.#next)) return false;
    if (multiple) {
      for (let t = this.#low; t <= tag; t++) this.#settle(t & this.#mask, verdict);
      this.#low = tag + 1;
    } else {
      const at = tag & this.#mask;
      if (this.#state[at] === SETTLED) return false;
      this.#settle(at, verdict);
    }
    while (this.#low < this.#next && this.#state[this.#low & this.#mask] === SETTLED) this.#low++;
    return true;
  }

  /** Gives the open copy that `is` its verdict, ahead of its confirm; false when there is none. */
  returned(is: (message: Outgoing) => boolean, verdict: (message: Outgoing) => Verdict): boolean {
    const from = Math.max(this.#low, this.#returns);
    for (let n = 0; n < this.#next - this.#low; n++) {
      const tag = from + n < this.#next ? from + n : from + n - this.#next + this.#low;
      const at = tag & this.#mask;
      if (this.#state[at] !== OPEN) continue;
      const sent = this.#sent[at]!;
      const index = this.#index[at]!;
      const message = sent.batch[index]!;
      if (!is(message)) continue;
      this.#returns = tag + 1;
      this.#state[at] = RETURNED;
      this.#sent[at] = undefined;
      sent.verdict(index, verdict(message));
      return true;
    }
    return false;
  }

  /** Gives every copy that has no verdict this one. */
  end(verdict: Verdict | ((message: Outgoing) => Verdict)): void {
    const end = this.#next;
    for (let tag = this.#low; tag < end; tag++) this.#settle(tag & this.#mask, verdict);
    this.#low = end;
  }

  #settle(at: number, verdict: Verdict | ((message: Outgoing) => Verdict)): void {
    const state = this.#state[at];
    this.#state[at] = SETTLED;
    if (state !== OPEN) return;
    const sent = this.#sent[at]!;
    const index = this.#index[at]!;
    // Before the callback: what it sees is already true, and a body of 16 MiB is not held until its slot comes again.
    this.#sent[at] = undefined;
    sent.verdict(index, typeof verdict === "function" ? verdict(sent.batch[index]!) : verdict);
  }

  #grow(): void {
    const size = (this.#mask + 1) * 2;
    const sent = new Array<Sent | undefined>(size);
    const index = new Uint32Array(size);
    const state = new Uint8Array(size);
    for (let tag = this.#low; tag < this.#next; tag++) {
      const [from, to] = [tag & this.#mask, tag & (size - 1)];
      sent[to] = this.#sent[from];
      index[to] = this.#index[from]!;
      state[to] = this.#state[from]!;
    }
    this.#sent = sent;
    this.#index = index;
    this.#state = state;
    this.#mask = size - 1;
  }
}
