import type { Delivery } from "@tallymq/core/spi";
import type { ReceivedRecord } from "./driver/driver.ts";
import { type CommitPoint, MOST_AHEAD, Progress } from "./progress.ts";

/** One partition of a member: what was fetched and not handed out, what is out, what is done. */
export class Lane {
  readonly number: number;
  readonly topic: string;
  readonly partition: number;
  /** The assignment that it came with; what is settled under another one does not count. */
  readonly epoch: number;
  readonly progress: Progress;
  /** Offsets that are out. */
  readonly out: Set<number> = new Set();
  /** Acked, and not committed as far as we know: if the partition goes now, these come again. */
  acked: Delivery[] = [];
  /** By core. */
  paused = false;
  /** At the broker: enough is held. */
  full = false;
  /** Bodies of what is held, in bytes. */
  heldBytes = 0;
  #held: ReceivedRecord[] = [];
  #first = 0;
  #committed: CommitPoint;

  constructor(number: number, topic: string, partition: number, epoch: number, from: CommitPoint) {
    this.number = number;
    this.topic = topic;
    this.partition = partition;
    this.epoch = epoch;
    this.progress = new Progress(from.offset, from.metadata);
    this.#committed = from;
  }

  get held(): number {
    return this.#held.length - this.#first;
  }

  /** Whether the broker's word of what the group has done is what we last told it. */
  continues({ offset, metadata }: CommitPoint): boolean {
    return this.#committed.offset === offset && this.#committed.metadata === metadata;
  }

  fetched(records: readonly ReceivedRecord[]): void {
    for (const record of records) {
      if (!this.progress.fetched(record.offset)) continue;
      this.#held.push(record);
      this.heldBytes += sizeOf(record);
    }
  }

  /** The next one to hand out, or null: none, or it would lie too far ahead of the oldest that is not done. */
  next(): ReceivedRecord | null {
    const record = this.#held[this.#first];
    if (record === undefined || this.paused || record.offset - this.progress.prefix >= MOST_AHEAD) return null;
    this.#first++;
    this.heldBytes -= sizeOf(record);
    if (this.#first === this.#held.length) {
      this.#held = [];
      this.#first = 0;
    } else if (this.#first >= 1_024) {
      this.#held = this.#held.slice(this.#first);
      this.#first = 0;
    }
    this.out.add(record.offset);
    return record;
  }

  /** True: it was out. */
  ack(delivery: Delivery): boolean {
    const offset = delivery.token as number;
    if (!this.out.delete(offset)) return false;
    this.progress.done(offset);
    this.acked.push(delivery);
    return true;
  }

  /** The broker has taken a commit that covers this many of the acks. */
  committed(point: CommitPoint, acks: number): void {
    this.#committed = point;
    this.acked = this.acked.slice(acks);
  }
}

function sizeOf({ value }: ReceivedRecord): number {
  return value?.length ?? 0;
}
