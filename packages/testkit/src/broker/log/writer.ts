import { closeSync, fdatasync, openSync, write } from "node:fs";
import { promisify } from "node:util";

const writeAsync = promisify(write);
const syncAsync = promisify(fdatasync);

export interface LogWriterOptions {
  readonly file: string;
  /** Bytes that the file holds already. */
  readonly size: number;
  /** Makes durable what was written. @default fdatasync */
  readonly sync?: (fd: number) => Promise<void>;
  /** The disk refused: what was appended may or may not be there, and nothing more can be promised. */
  readonly failed: (error: unknown) => void;
  /** Between two batches, with everything durable that was; may replace the file and give its new size. */
  readonly betweenBatches: (size: number) => number | null;
}

/**
 * Appends in groups: one write and one fdatasync for all that arrived while the last one ran. What does not need to be
 * durable (settlements: to forget one means to deliver again) goes along with the next write, and by itself is not synced.
 */
export class LogWriter {
  readonly #o: LogWriterOptions;
  readonly #fsync: (fd: number) => Promise<void>;
  #fd: number;
  #size: number;
  #records: Buffer[] = [];
  #bytes = 0;
  #sync = false;
  #then: (() => void)[] = [];
  #running: Promise<void> | null = null;
  #failed = false;

  constructor(options: LogWriterOptions) {
    this.#o = options;
    this.#fsync = options.sync ?? syncAsync;
    this.#size = options.size;
    this.#fd = openSync(options.file, "a", 0o600);
  }

  /** Bytes appended and not written yet. */
  get waiting(): number {
    return this.#bytes;
  }

  append(record: Buffer, sync: boolean): void {
    this.#records.push(record);
    this.#bytes += record.length;
    if (sync) this.#sync = true;
    this.#wake();
  }

  /** Calls back when everything appended so far is durable, in the order of asking. */
  afterSync(fn: () => void): void {
    this.#then.push(fn);
    this.#wake();
  }

  /** Writes what is left, then closes the file. */
  async close(): Promise<void> {
    while (this.#running !== null) await this.#running;
    closeSync(this.#fd);
  }

  #wake(): void {
    if (this.#failed) return;
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    try {
      // One turn of the loop: what this turn's sockets still bring goes into the same batch.
      await new Promise((resolve) => setImmediate(resolve));
      while (this.#records.length > 0 || this.#then.length > 0) await this.#batch();
    } catch (error) {
      this.#failed = true;
      this.#o.failed(error);
    } finally {
      this.#running = null;
    }
  }

  async #batch(): Promise<void> {
    const data = Buffer.concat(this.#records, this.#bytes);
    const [then, sync] = [this.#then, this.#sync];
    this.#records = [];
    this.#then = [];
    this.#bytes = 0;
    this.#sync = false;
    for (let at = 0; at < data.length;) {
      const { bytesWritten } = await writeAsync(this.#fd, data, at, data.length - at, null);
      at += bytesWritten;
    }
    if (sync) await this.#fsync(this.#fd);
    this.#size += data.length;
    for (const fn of then) fn();
    const replaced = this.#o.betweenBatches(this.#size);
    if (replaced === null) return;
    closeSync(this.#fd);
    this.#fd = openSync(this.#o.file, "a", 0o600);
    this.#size = replaced;
  }
}
