import { closeSync, mkdirSync, openSync, readdirSync, writeSync } from "node:fs";
import { join } from "node:path";
import { hrtime } from "node:process";
import { fileName, parseFileName } from "./files.ts";
import type { Incarnation, LedgerOp } from "./lines.ts";

export interface LedgerWriterOptions {
  /** Where the run's files live; made when it is not there. */
  readonly folder: string;
  /** Letters, digits, `_` and `-`: it is part of the file's name. */
  readonly run: string;
  /** The process's name, the same after a restart. Same letters. */
  readonly proc: string;
  /** @default one more than the highest that the folder holds for this process, 1 for the first */
  readonly epoch?: number;
  /** Monotonic microseconds. @default the host's monotonic clock, which all processes of one host share */
  readonly now?: () => number;
}

const hostMicros = (): number => Number(hrtime.bigint() / 1000n);

/**
 * Writes one incarnation's file, one `write(2)` a line. There is no buffer to switch on: what `write()` returned
 * from is in the kernel, so `kill -9` of this process loses nothing (a power cut may; the ledger does not judge those).
 *
 * `write` throws what the file system throws (a full disk). After that the file may end in half a line, so the writer
 * stays broken: a line behind half a line would be taken for damage.
 */
export class LedgerWriter implements Disposable {
  readonly incarnation: Incarnation;
  readonly path: string;
  readonly #fd: number;
  readonly #head: string;
  readonly #now: () => number;
  #i = 0;
  #state: "open" | "broken" | "closed" = "open";

  /** @throws RangeError for a name that could not be a file's; the file system's error when the incarnation has a file already */
  constructor(options: LedgerWriterOptions) {
    const { folder, run, proc } = options;
    mkdirSync(folder, { recursive: true });
    const epoch = options.epoch ?? nextEpoch(folder, run, proc);
    this.incarnation = { proc, epoch };
    this.path = join(folder, fileName(run, this.incarnation));
    this.#now = options.now ?? hostMicros;
    this.#head = `{"v":1,"run":"${run}","proc":"${proc}","epoch":${epoch},"i":`;
    // "ax": two incarnations that believe to be the same one must fail here, not mix their lines.
    this.#fd = openSync(this.path, "ax", 0o600);
  }

  write(entry: LedgerOp): void {
    if (this.#state !== "open") throw new Error(`the ledger file of ${this.incarnation.proc} is ${this.#state}`);
    const line = `${this.#head}${this.#i + 1},"mono":${this.#now()},${JSON.stringify(entry).slice(1)}\n`;
    this.#state = "broken"; // until the whole line is out
    let written = writeSync(this.#fd, line);
    if (written !== Buffer.byteLength(line)) {
      const bytes = Buffer.from(line);
      while (written < bytes.length) written += writeSync(this.#fd, bytes, written);
    }
    this.#i += 1;
    this.#state = "open";
  }

  /** Writes `end` and closes the file. A second call does nothing. */
  close(): void {
    if (this.#state === "closed") return;
    try {
      if (this.#state === "open") this.write({ op: "end" });
    } finally {
      this.#state = "closed";
      closeSync(this.#fd);
    }
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function nextEpoch(folder: string, run: string, proc: string): number {
  let highest = 0;
  for (const name of readdirSync(folder)) {
    const file = parseFileName(name);
    if (file !== null && file.run === run && file.proc === proc) highest = Math.max(highest, file.epoch);
  }
  return highest + 1;
}
