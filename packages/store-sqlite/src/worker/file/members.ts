import { closeSync, constants, fchmodSync, openSync, readFileSync, writeSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { Fault, SQLITE, sqliteCode } from "../fault.ts";
import { createPrivate } from "./place.ts";

/** How long another process may take to check a store while we wait to open it. */
const OTHERS_CHECK_MS = 5_000;

/**
 * Who has a store open, by locks on a file at its side: shared by all who use it, held alone by who checks or repairs it,
 * or by the one process that a store was made for. The system ends a lock with its process, so that no kill leaves one.
 *
 * Never read that file, or the store's own, with `fs` while SQLite has it open in this process: closing any descriptor
 * of a file drops the whole process's POSIX locks on it.
 */
export class Members {
  readonly #path: string;
  readonly #side: DatabaseSync;

  constructor(path: string) {
    this.#path = path;
    createPrivate(`${path}-open`);
    this.#side = new DatabaseSync(`${path}-open`, { timeout: 0 });
  }

  /** Runs `check` while nobody else has the store open; false: somebody has. */
  alone(check: (initialised: boolean) => void): boolean {
    if (!this.#lock("BEGIN EXCLUSIVE")) return false;
    try {
      const marked =
        this.#side.prepare("SELECT 1 AS one FROM sqlite_schema WHERE name='initialised'").get() !== undefined;
      check(marked);
      // From here on an empty file is not a fresh one.
      if (!marked) this.#side.exec("CREATE TABLE initialised (at)");
      this.#side.exec("COMMIT");
    } catch (error) {
      if (this.#side.isTransaction) this.#side.exec("ROLLBACK");
      throw error;
    }
    return true;
  }

  /**
   * Keeps our place among those who use the store, for as long as we live.
   * @throws Fault `store` when somebody else has it for himself, or is in it while we want it for ourselves.
   */
  join(processes: "many" | "one"): void {
    if (processes === "one") {
      if (!this.#lock("BEGIN EXCLUSIVE"))
        throw new Fault(
          "store",
          `${this.#path} is to be opened for one process alone, and process ${this.#pid()} has it open`,
        );
    } else {
      this.#side.exec(`PRAGMA busy_timeout=${OTHERS_CHECK_MS}; BEGIN`);
      try {
        this.#side.prepare("SELECT count(*) FROM sqlite_schema").get();
      } catch (error) {
        if (sqliteCode(error) !== SQLITE.busy) throw error;
        throw new Fault("store", `${this.#path} is held by process ${this.#pid()}, which opened it for itself alone`);
      }
    }
    const file = openSync(
      `${this.#path}-pid`,
      constants.O_CREAT | constants.O_WRONLY | constants.O_TRUNC | (constants.O_NOFOLLOW ?? 0),
      0o600,
    );
    fchmodSync(file, 0o600);
    writeSync(file, `${process.pid}\n`);
    closeSync(file);
  }

  close(): void {
    this.#side.close();
  }

  #lock(begin: string): boolean {
    try {
      this.#side.exec(begin);
      return true;
    } catch (error) {
      if (sqliteCode(error) === SQLITE.busy) return false;
      throw error;
    }
  }

  #pid(): string {
    try {
      return readFileSync(`${this.#path}-pid`, "utf8").trim().slice(0, 20);
    } catch {
      return "?";
    }
  }
}
