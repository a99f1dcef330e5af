import type { DatabaseSync } from "node:sqlite";
import { Fault } from "../fault.ts";

/**
 * Of the tables. A store of a higher one is not touched, one of a lower one is upgraded in place when it is opened: up to
 * {@link SHARED_FORMAT} while others have it open, since these may be of a version that knows no more.
 *
 * | format | brought |
 * |---|---|
 * | 1 | outbox, inbox, parked keys |
 * | 2 | half messages |
 * | 3 | marks that lie by the beginning of their id, in inboxes made by it |
 * | 4 | how far rows have been given to a relay |
 * | 5 | rows that lie together in packs |
 * | 6 | what the records of a pack have in common lies beside them |
 */
export const STORE_FORMAT = 6;
/** Rows are put together since then: in a store of format 5, which has packs of its own, they would have to be of another kind. */
export const PACKS_SINCE = 6;
/** The last one that adds what nobody has to know of. */
const SHARED_FORMAT = 4;

export interface Stamp {
  readonly kind: string;
  readonly format: number;
  readonly id: string;
}

export function createStamp(sql: DatabaseSync, stamp: Stamp): void {
  sql.exec("CREATE TABLE tally_store (kind TEXT NOT NULL, format INTEGER NOT NULL, id TEXT NOT NULL)");
  sql.prepare("INSERT INTO tally_store VALUES (?, ?, ?)").run(stamp.kind, stamp.format, stamp.id);
}

/** Inside a transaction: the store has all tables of this format by now. @param alone Nobody else has it open. */
export function upgradeStamp(sql: DatabaseSync, alone: boolean): void {
  sql.prepare("UPDATE tally_store SET format = max(format, ?)").run(alone ? STORE_FORMAT : SHARED_FORMAT);
}

/** Null: no store of Tally (yet). Throws what SQLite throws for a damaged file. */
export function readStamp(sql: DatabaseSync): Stamp | null {
  const table = sql.prepare("SELECT 1 AS one FROM sqlite_schema WHERE type = 'table' AND name = 'tally_store'").get();
  if (table === undefined) return null;
  return (sql.prepare("SELECT kind, format, id FROM tally_store").get() as Stamp | undefined) ?? null;
}

export function checkStamp(path: string, stamp: Stamp, kind: string): void {
  if (stamp.format > STORE_FORMAT)
    throw new Fault(
      "store",
      `${path} was written by a newer Tally (format ${stamp.format}; this one knows ${STORE_FORMAT}): it is left as it is`,
    );
  if (stamp.kind !== kind) throw new Fault("store", `${path} is an ${stamp.kind}; an ${kind} has a file of its own`);
}

/** Tables that are not Tally's. */
export function foreignTables(sql: DatabaseSync): readonly string[] {
  const rows = sql
    .prepare(
      "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'tally~_%' ESCAPE '~' AND name NOT LIKE 'sqlite~_%' ESCAPE '~'",
    )
    .all();
  return rows.map((row) => String(row["name"]));
}
