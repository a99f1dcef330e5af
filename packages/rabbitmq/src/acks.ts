import type { Delivery } from "@tallymq/core/spi";

/** What acknowledging needs of a channel. */
export interface AckWire {
  ack(tag: number, multiple: boolean): void;
  /** Back to the queue; one only. */
  nack(tag: number): void;
}

/**
 * Single acks a flush. The broker's channel passes 32 commands on to a quorum queue without its answer, keeps the rest to
 * itself, and drops that when it closes: 39 single acks and a close left seven messages to be delivered again.
 */
const MOST_ALONE = 16;

/**
 * Merges acknowledgements. A `multiple` ack covers every lower tag, so it is sent only over a prefix in which nothing is
 * unsettled, once a flush; what is settled behind an unsettled tag waits for one flush, and is acked alone at the next.
 *
 * A `multiple` ack must also name a tag that the broker still holds: for one that was acked alone or returned, RabbitMQ
 * acknowledges everything up to it and then ends the channel ("unknown delivery tag"). So it names the highest tag of the
 * prefix whose ack has not left.
 *
 * What is kept are the tags that the broker still holds, so the credit bounds it: one handler that runs for an hour while
 * millions of deliveries pass it by costs one entry.
 */
export class AckFlow {
  readonly #wire: AckWire;
  /** Delivered and not settled, in the order of delivery. */
  readonly #open: Set<number> = new Set();
  /** Settled by `ack` since the last flush, and before it. */
  #fresh: Delivery[] = [];
  #waited: Delivery[] = [];
  #last = 0;

  constructor(wire: AckWire) {
    this.#wire = wire;
  }

  delivered(tag: number): void {
    this.#open.add(tag);
    this.#last = tag;
  }

  /** Leaves with a flush. A delivery that is settled already is left alone: acking it twice ends the channel. */
  ack(delivery: Delivery): void {
    if (this.#open.delete(delivery.token as number)) this.#fresh.push(delivery);
  }

  /** Leaves at once: nobody else can work on it until then. */
  release(delivery: Delivery): void {
    if (this.#open.delete(delivery.token as number)) this.#wire.nack(delivery.token as number);
  }

  /** Whether this tag is out at a handler. */
  isOpen(tag: number): boolean {
    return this.#open.has(tag);
  }

  /** Deliveries that are not settled. */
  get open(): number {
    return this.#open.size;
  }

  /** Settled since the last flush. */
  get fresh(): number {
    return this.#fresh.length;
  }

  /** Settled deliveries whose ack has not left. */
  get unsent(): readonly Delivery[] {
    return [...this.#waited, ...this.#fresh];
  }

  get pending(): boolean {
    return this.#fresh.length > 0 || this.#waited.length > 0;
  }

  /**
   * @param all Acks everything that is settled now; nothing waits.
   * @returns how many acks left alone.
   */
  flush(all: boolean): number {
    const end = this.#end();
    const fresh = this.#fresh;
    const waited = this.#waited;
    this.#fresh = [];
    this.#waited = [];
    let highest = 0;
    const alone: number[] = [];
    for (const delivery of waited) {
      const tag = delivery.token as number;
      if (tag <= end) highest = Math.max(highest, tag);
      else if (all || alone.length < MOST_ALONE) alone.push(tag);
      else this.#waited.push(delivery);
    }
    for (const delivery of fresh) {
      const tag = delivery.token as number;
      if (tag <= end) highest = Math.max(highest, tag);
      else if (all) alone.push(tag);
      else this.#waited.push(delivery);
    }
    if (highest > 0) this.#wire.ack(highest, true);
    for (const tag of alone) this.#wire.ack(tag, false);
    return alone.length;
  }

  /** The last tag of the prefix in which nothing is unsettled. */
  #end(): number {
    for (const lowest of this.#open) return lowest - 1;
    return this.#last;
  }
}
