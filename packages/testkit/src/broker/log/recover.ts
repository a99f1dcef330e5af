import { randomBytes } from "node:crypto";
import {
  closeSync,
  copyFileSync,
  existsSync,
  fdatasyncSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { decodeEntry, encodeDeclared, encodeLeft, encodeMessage, type Left } from "./entries.ts";
import { encodeHeads, HEADS, headsAreWhole, readSalt, recordWriter, scan } from "./records.ts";
import { LogState } from "./state.ts";

/** What reading the log at the start found. */
export interface RecoveryReport {
  /** Messages that wait, or are dead letters, in at least one group. */
  readonly messages: number;
  /** Bytes of a record that was being written when the last process ended; never confirmed, cut off. */
  readonly tornBytes: number;
  /** Stretches of the file that do not verify: something in them may have been confirmed, and is lost here. */
  readonly damaged: readonly { readonly from: number; readonly to: number }[];
  /** The file as it was found, kept when anything in it was damaged. */
  readonly quarantine: string | null;
}

export interface Recovered {
  readonly state: LogState;
  readonly salt: Uint8Array;
  readonly file: string;
  /** Bytes of the file after compaction. */
  readonly size: number;
  readonly report: RecoveryReport;
}

const FILE = "messages.log";

/** What a log comes to, damage and all; nothing is written. */
export interface ReadLog extends Pick<RecoveryReport, "tornBytes" | "damaged"> {
  readonly state: LogState;
}

export function readLog(file: Buffer): ReadLog {
  const state = new LogState();
  const salt = readSalt(file);
  // Without its head no record can be told from a body that imitates one.
  if (salt === null) return { state, tornBytes: 0, damaged: file.length > 0 ? [{ from: 0, to: file.length }] : [] };
  const { payloads, damaged, end } = scan(file, salt);
  for (const payload of payloads) state.apply(decodeEntry(payload));
  const heads = headsAreWhole(file) ? [] : [{ from: 0, to: HEADS }];
  return { state, tornBytes: file.length - end, damaged: [...heads, ...damaged] };
}

/** Reads the log of a data directory, keeps a damaged one aside, and writes what it comes to into a new one. */
export function recover(dataDir: string): Recovered {
  mkdirSync(dataDir, { recursive: true, mode: 0o700 });
  const file = join(dataDir, FILE);
  const { state, tornBytes, damaged } = readLog(existsSync(file) ? readFileSync(file) : Buffer.alloc(0));
  const quarantine = damaged.length > 0 ? keepAside(file, dataDir) : null;
  const salt = randomBytes(16);
  const size = writeState(file, salt, state);
  return { state, salt, file, size, report: { messages: state.messages.size, tornBytes, damaged, quarantine } };
}

/** Replaces the log by a new one that holds just this; after a crash at any moment either the old or the new one stands. */
export function writeState(file: string, salt: Uint8Array, state: LogState): number {
  const next = `${file}.new`;
  const record = recordWriter(salt);
  const fd = openSync(next, "w", 0o600);
  let size = 0;
  let chunk: Buffer[] = [];
  let chunkBytes = 0;
  const flush = (): void => {
    const data = Buffer.concat(chunk);
    for (let at = 0; at < data.length;) at += writeSync(fd, data, at);
    size += data.length;
    chunk = [];
    chunkBytes = 0;
  };
  const write = (data: Buffer): void => {
    chunk.push(data);
    chunkBytes += data.length;
    if (chunkBytes > 4 * 1024 * 1024) flush();
  };
  try {
    write(encodeHeads(salt));
    for (const [name, { ordered, groups }] of state.topics) {
      const declared = record(
        encodeDeclared(
          { name, ordered, groups: groups.map((g) => g.name) },
          groups.map((g) => g.number),
        ),
      );
      // Everything hangs on these few bytes: twice, so that damage to one copy loses no group.
      write(declared);
      write(declared);
    }
    for (const kept of [...state.messages.values()].toSorted((a, b) => a.place - b.place)) {
      write(record(encodeMessage(kept.place, kept.message, 0, kept.dueAt)));
      const left: Left[] = [];
      for (const { number } of state.topics.get(kept.message.topic)?.groups ?? []) {
        const is = kept.groups.get(number);
        if (is !== "waiting") left.push({ group: number, place: kept.place, fate: is === "dead" ? "dead" : "settled" });
      }
      if (left.length > 0) write(record(encodeLeft(left)));
    }
    flush();
    fdatasyncSync(fd);
  } finally {
    closeSync(fd);
  }
  renameSync(next, file);
  syncDirectory(file);
  return size;
}

function keepAside(file: string, dataDir: string): string {
  let n = 1;
  while (existsSync(join(dataDir, `${FILE}.damaged-${n}`))) n += 1;
  const aside = join(dataDir, `${FILE}.damaged-${n}`);
  copyFileSync(file, aside);
  const fd = openSync(aside, "r");
  fsyncSync(fd);
  closeSync(fd);
  return aside;
}

function syncDirectory(file: string): void {
  const fd = openSync(join(file, ".."), "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
}
