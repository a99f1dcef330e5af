/** Bytes of a frame's length. */
const HEAD = 4;
/** The driver asks for 10 MiB a fetch, and a single message may be larger; a length beyond this is no answer of Kafka's. */
export const MOST_FRAME: number = 256 * 1024 * 1024;

/** Bytes as they come in, as whole frames: a length (i32, big-endian), and so many bytes. */
export class Frames {
  readonly #frame: (bytes: Buffer) => void;
  #chunks: Buffer[] = [];
  #bytes = 0;
  /** Until there are so many, there is nothing to look at. */
  #needed = HEAD;

  /** @param frame Gets frames with their length, several at once where they have come so. */
  constructor(frame: (bytes: Buffer) => void) {
    this.#frame = frame;
  }

  /** @throws RangeError for a length that no frame has: what comes after it means nothing */
  take(chunk: Buffer): void {
    this.#chunks.push(chunk);
    this.#bytes += chunk.length;
    if (this.#bytes < this.#needed) return;
    const all = this.#chunks.length === 1 ? chunk : Buffer.concat(this.#chunks, this.#bytes);
    let end = 0;
    this.#needed = HEAD;
    while (all.length - end >= HEAD) {
      const length = all.readInt32BE(end);
      if (length < 0 || length > MOST_FRAME) throw new RangeError(`a frame of ${length} bytes: this is not Kafka`);
      if (all.length - end < HEAD + length) {
        this.#needed = HEAD + length;
        break;
      }
      end += HEAD + length;
    }
    this.#chunks = end === all.length ? [] : [all.subarray(end)];
    this.#bytes = all.length - end;
    if (end > 0) this.#frame(all.subarray(0, end));
  }
}
