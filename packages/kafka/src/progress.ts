/** Begins the metadata of our commits; what others wrote there is nobody's progress. */
const MARK = "tally1:";
/** What the broker keeps of a commit's metadata, in characters (`offset.metadata.max.bytes`). */
const MOST_METADATA = 4_096;
const MOST_BITS = Math.floor((MOST_METADATA - MARK.length) / 4) * 24;

/**
 * How far beyond the committed offset messages are handed out. What is done there is remembered in the commit's metadata, a
 * bit an offset; at three quarters of what fits there the partition waits for its oldest message.
 */
export const MOST_AHEAD: number = Math.floor(MOST_BITS * 0.75);

/** Where to begin after a restart or a rebalance, and what not to process again. */
export interface CommitPoint {
  /** Of the first message that is not done. */
  readonly offset: number;
  /** What is done beyond it. */
  readonly metadata: string;
}

/**
 * What a group has done of one partition. Messages end out of order; committed is the offset of the first one that has not,
 * so that no commit ever runs past unfinished work.
 */
export class Progress {
  /** In the order of the log; from `#head` on. */
  #fetched: number[] = [];
  #head = 0;
  /** Done, and not below `#prefix`. Also what is known from a commit's metadata and has not been fetched. */
  readonly #done: Set<number> = new Set();
  #prefix: number;
  #next: number;

  /** @param from Where the group begins. @param metadata Of the commit that says so. */
  constructor(from: number, metadata: string) {
    this.#prefix = from;
    this.#next = from;
    for (const offset of bits(from, metadata)) this.#done.add(offset);
    this.#advance();
  }

  /** So many are done beyond the offset, by the metadata of its commit. @param low Offsets below are not there any more. */
  static doneIn(offset: number, metadata: string, low: number): number {
    let count = 0;
    for (const done of bits(offset, metadata)) if (done >= low) count++;
    return count;
  }

  /** The offset that is to be fetched next. */
  get next(): number {
    return this.#next;
  }

  /** Everything below is done. */
  get prefix(): number {
    return this.#prefix;
  }

  /** A message has been fetched. False: it is done already, by the metadata of an earlier commit, or was fetched before. */
  fetched(offset: number): boolean {
    if (offset < this.#next) return false;
    this.#next = offset + 1;
    const open = !this.#done.has(offset);
    this.#fetched.push(offset);
    this.#advance();
    return open;
  }

  /** A message that was fetched is done. */
  done(offset: number): void {
    if (offset < this.#prefix || offset >= this.#next) return;
    this.#done.add(offset);
    this.#advance();
  }

  commit(): CommitPoint {
    return { offset: this.#prefix, metadata: this.#metadata() };
  }

  /** Offsets that hold no message for us (compaction, markers of transactions) are passed over. */
  #advance(): void {
    while (this.#head < this.#fetched.length && this.#done.delete(this.#fetched[this.#head]!)) this.#head++;
    this.#prefix = this.#fetched[this.#head] ?? this.#next;
    // Now and then: a copy for each ack would cost more than the acks.
    if (this.#head < 1_024 || this.#head * 2 < this.#fetched.length) return;
    this.#fetched = this.#fetched.slice(this.#head);
    this.#head = 0;
  }

  #metadata(): string {
    if (this.#done.size === 0) return "";
    let last = this.#prefix;
    for (const offset of this.#done) if (offset > last) last = offset;
    // Nothing is handed out so far ahead; what an older Tally's metadata says beyond it is processed again.
    const span = Math.min(last - this.#prefix + 1, MOST_BITS);
    const bytes = new Uint8Array(Math.ceil(span / 8));
    for (const offset of this.#done) {
      const bit = offset - this.#prefix;
      if (bit >= 0 && bit < span) bytes[bit >> 3]! |= 1 << (bit & 7);
    }
    return MARK + Buffer.from(bytes.buffer).toString("base64");
  }
}

function* bits(from: number, metadata: string): Generator<number> {
  if (!metadata.startsWith(MARK)) return;
  const bytes = Buffer.from(metadata.slice(MARK.length), "base64");
  for (let bit = 0; bit < bytes.length * 8; bit++) if ((bytes[bit >> 3]! & (1 << (bit & 7))) !== 0) yield from + bit;
}
