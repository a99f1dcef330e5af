import { isUtf8 } from "node:buffer";
import { closeSync, openSync, readdirSync, readSync } from "node:fs";
import { join } from "node:path";
import { parseFileName } from "./files.ts";
import { parseLine } from "./lines.ts";
import type { Incarnation, LedgerLine } from "./lines.ts";

/** What one file says about itself, besides its lines. */
export interface LedgerFile extends Incarnation {
  readonly run: string;
  readonly name: string;
  readonly lines: number;
  /** It ends with `end`. */
  readonly ended: boolean;
  /** Its last line was cut off, as a process that dies in `write` leaves it. */
  readonly torn: boolean;
  /** Time of its last line, microseconds. */
  readonly lastMono: number;
  /** What is wrong with it, at most 20 of them, in words. Each is a reason to believe nothing that needs a whole log. */
  readonly problems: readonly string[];
}

const CHUNK = 1 << 20;
const NEWLINE = 10;
const MAX_PROBLEMS = 20;

/**
 * Reads a folder of ledger files, line by line, in a megabyte of memory whatever the files hold.
 * It never throws for what is *in* a file: that becomes one of the file's `problems`.
 */
export class LedgerReader {
  readonly folder: string;
  /** Names of the files, in order. */
  readonly names: readonly string[];
  /** Files whose name ends in `.jsonl` but is not a ledger's. */
  readonly strangers: readonly string[];

  /** @throws the file system's error when the folder cannot be read */
  constructor(folder: string) {
    this.folder = folder;
    const all = readdirSync(folder)
      .filter((name) => name.endsWith(".jsonl"))
      .sort();
    this.names = all.filter((name) => parseFileName(name) !== null);
    this.strangers = all.filter((name) => parseFileName(name) === null);
  }

  /** Calls `visit` with each good line of a file, in order. */
  read(name: string, visit: (line: LedgerLine) => void): LedgerFile {
    const owner = parseFileName(name);
    if (owner === null) throw new RangeError(`${name} is not the name of a ledger file`);
    const reading = new FileReading(name, owner, visit);
    const fd = openSync(join(this.folder, name), "r");
    try {
      readLines(fd, reading);
    } finally {
      closeSync(fd);
    }
    return reading.file();
  }
}

/** Follows one file: the envelope must be the file's own, `i` gap-free, `mono` not falling, nothing behind `end`. */
class FileReading {
  readonly #name: string;
  readonly #owner: Incarnation & { readonly run: string };
  readonly #visit: (line: LedgerLine) => void;
  readonly #problems: string[] = [];
  #lines = 0;
  #i = 0;
  #mono = 0;
  #ended = false;
  #torn = false;

  constructor(name: string, owner: Incarnation & { readonly run: string }, visit: (line: LedgerLine) => void) {
    this.#name = name;
    this.#owner = owner;
    this.#visit = visit;
  }

  line(text: string): void {
    this.#lines += 1;
    const line = parseLine(text);
    if (typeof line === "string") return this.problem(line);
    this.#take(line);
  }

  /** What stands behind the last newline: a whole line that lost only its end, or half a line. */
  tail(text: string | null): void {
    const line = text === null ? "" : parseLine(text);
    if (typeof line === "string") {
      this.#torn = true;
      return;
    }
    this.#lines += 1;
    this.#take(line);
  }

  problem(what: string): void {
    if (this.#problems.length < MAX_PROBLEMS) this.#problems.push(`line ${this.#lines}: ${what}`);
  }

  file(): LedgerFile {
    const { proc, epoch, run } = this.#owner;
    return {
      proc,
      epoch,
      run,
      name: this.#name,
      lines: this.#lines,
      ended: this.#ended,
      torn: this.#torn,
      lastMono: this.#mono,
      problems: this.#problems,
    };
  }

  #take(line: LedgerLine): void {
    const { run, proc, epoch } = this.#owner;
    // A line of somebody else is not counted for anybody: it may stand in its own file too.
    if (line.epoch !== epoch || line.proc !== proc || line.run !== run)
      return this.problem("belongs to another run or process");
    if (this.#ended) this.problem("stands behind the end");
    if (line.i !== this.#i + 1) this.problem(`i goes from ${this.#i} to ${line.i}`);
    if (line.mono < this.#mono) this.problem("mono went back");
    this.#i = line.i;
    this.#mono = Math.max(this.#mono, line.mono);
    if (line.op === "end") this.#ended = true;
    this.#visit(line);
  }
}

function readLines(fd: number, reading: FileReading): void {
  const chunk = Buffer.allocUnsafe(CHUNK);
  let filled = 0;
  let skipping = false; // within a line that is longer than a chunk
  for (;;) {
    const read = readSync(fd, chunk, filled, CHUNK - filled, null);
    if (read === 0) break;
    filled += read;
    const last = chunk.subarray(0, filled).lastIndexOf(NEWLINE);
    if (last < 0) {
      if (filled < CHUNK) continue;
      skipping = true;
      filled = 0;
      continue;
    }
    let from = 0;
    if (skipping) {
      skipping = false;
      from = chunk.indexOf(NEWLINE) + 1;
      reading.line(""); // counted, and a problem: nothing that we write is a megabyte long
    }
    eachLine(chunk.subarray(from, last + 1), reading);
    chunk.copyWithin(0, last + 1, filled);
    filled -= last + 1;
  }
  if (skipping) reading.tail(null);
  else if (filled > 0) {
    const rest = chunk.subarray(0, filled);
    reading.tail(isUtf8(rest) ? rest.toString("utf8") : null);
  }
}

/** `bytes` ends with a newline, or is empty. */
function eachLine(bytes: Buffer, reading: FileReading): void {
  if (isUtf8(bytes)) {
    const text = bytes.toString("utf8");
    for (let from = 0; from < text.length;) {
      const to = text.indexOf("\n", from);
      reading.line(text.slice(from, to));
      from = to + 1;
    }
    return;
  }
  // One bad byte must not turn its neighbours' ids into replacement characters: line by line then.
  for (let from = 0; from < bytes.length;) {
    const to = bytes.indexOf(NEWLINE, from);
    const line = bytes.subarray(from, to);
    reading.line(isUtf8(line) ? line.toString("utf8") : "");
    from = to + 1;
  }
}
