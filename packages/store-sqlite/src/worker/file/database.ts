import { DatabaseSync, type StatementSync } from "node:sqlite";
import { Fault, SQLITE, sqliteCode } from "../fault.ts";
import { lstat } from "./place.ts";
import { Turnstile } from "./turnstile.ts";

/** 16 KiB: half the time of 4 KiB at both ends of the message sizes. */
const PAGE_BYTES = 16_384;
/** The log is folded into the file after so much: a file of the user's has smaller pages, and needs as many more of them. */
const LOG_BYTES = 500 * PAGE_BYTES;
/** How long another process may keep the file to itself. */
const BUSY_MS = 5_000;
/** Pages beyond the bound that deleting and parking may still take. */
const RESERVE = 64;

/**
 * How durable a commit is, and which bound holds in it.
 * - `acked`: fsynced before anybody is told, up to the bound. Always used for what is stored.
 * - `relay`: not fsynced by itself: a crash of the machine may undo the delete of a row that the broker has, which costs a
 *   duplicate. May go beyond the bound.
 */
export type Level = "acked" | "relay";

/** One connection, with its settings and the statements it needs to begin and end a transaction. */
export class Database {
  readonly path: string;
  readonly sql: DatabaseSync;
  readonly #inode: number;
  readonly #begin: StatementSync;
  readonly #read: StatementSync;
  readonly #commit: StatementSync;
  readonly #rollback: StatementSync;
  readonly #maxPages: number | null;
  readonly #turnstile: Turnstile;
  #level: Level | null = null;

  /** @param maxBytes Bound of the file; null: none, the file is not ours alone. */
  constructor(path: string, maxBytes: number | null) {
    this.path = path;
    this.sql = new DatabaseSync(path, { timeout: BUSY_MS, enableForeignKeyConstraints: true });
    try {
      // Page size and vacuum count for a fresh file only.
      this.sql.exec(`PRAGMA page_size=${PAGE_BYTES}; PRAGMA auto_vacuum=INCREMENTAL`);
      const mode = this.sql.prepare("PRAGMA journal_mode=WAL").get()?.["journal_mode"];
      if (mode !== "wal")
        throw new Fault("store", `${path} cannot have a write-ahead log there (SQLite answers "${String(mode)}")`);
      // No spill: what a transaction writes reaches the disk at its commit, so that "full" before it means the bound.
      this.sql.exec(
        "PRAGMA synchronous=FULL; PRAGMA cache_spill=OFF; PRAGMA cache_size=-32768; PRAGMA journal_size_limit=16777216; PRAGMA temp_store=MEMORY",
      );
      if (process.platform === "darwin") this.sql.exec("PRAGMA fullfsync=1");
      const page = Number(this.sql.prepare("PRAGMA page_size").get()?.["page_size"]);
      this.sql.exec(`PRAGMA wal_autocheckpoint=${Math.round(LOG_BYTES / page)}`);
      this.#maxPages = maxBytes === null ? null : Math.max(16, Math.floor(maxBytes / page));
      this.#begin = this.sql.prepare("BEGIN IMMEDIATE");
      this.#read = this.sql.prepare("BEGIN");
      this.#commit = this.sql.prepare("COMMIT");
      this.#rollback = this.sql.prepare("ROLLBACK");
      this.#inode = lstat(path)?.ino ?? 0;
      this.#turnstile = new Turnstile(path);
    } catch (error) {
      this.sql.close();
      throw error;
    }
  }

  begin(level: Level): void {
    if (this.#level !== level) this.#set(level);
    this.#turnstile.standBack();
    // SQLite's own waiting is not fair.
    this.sql.exec("PRAGMA busy_timeout=0");
    try {
      this.#enter();
    } finally {
      this.sql.exec(`PRAGMA busy_timeout=${BUSY_MS}`);
    }
  }

  #enter(): void {
    const until = performance.now() + BUSY_MS;
    for (let waited = false; ; waited = true) {
      try {
        this.#begin.run();
        if (waited) this.#turnstile.got();
        return;
      } catch (error) {
        if (sqliteCode(error) !== SQLITE.busy || performance.now() > until) throw error;
        this.#turnstile.wait();
      }
    }
  }

  /** @throws Fault `store`, and nothing was written, when the file is not the one that the path names any more. */
  commit(): void {
    if (lstat(this.path)?.ino !== this.#inode) {
      this.rollback();
      throw new Fault("store", `${this.path} was deleted or replaced while it was open`);
    }
    this.#commit.run();
  }

  /** Also after SQLite undid the transaction by itself, as it does for some errors. */
  rollback(): void {
    if (this.sql.isTransaction) this.#rollback.run();
  }

  /** Several looks that see one state. Inside a transaction they do so anyway. */
  reading<T>(looks: () => T): T {
    if (this.sql.isTransaction) return looks();
    this.#read.run();
    try {
      return looks();
    } finally {
      this.rollback();
    }
  }

  number(pragma: string): number {
    return Number(Object.values(this.sql.prepare(`PRAGMA ${pragma}`).get() ?? {})[0]);
  }

  /** Folds the log into the file, so that it is whole by itself. */
  close(): void {
    try {
      this.sql.exec("PRAGMA busy_timeout=0; PRAGMA wal_checkpoint(TRUNCATE)");
    } catch {
      // Somebody reads it: the log stays, and is folded by the last one.
    }
    this.sql.close();
  }

  #set(level: Level): void {
    this.#level = null;
    const synchronous = level === "acked" ? 2 : 1;
    this.sql.exec(`PRAGMA synchronous=${synchronous}`);
    if (this.number("synchronous") !== synchronous)
      throw new Fault("store", `${this.path}: SQLite does not take the durability that it is asked for`);
    if (this.#maxPages !== null)
      this.sql.exec(`PRAGMA max_page_count=${this.#maxPages + (level === "acked" ? 0 : RESERVE)}`);
    this.#level = level;
  }
}
