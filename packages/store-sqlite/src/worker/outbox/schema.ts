import type { DatabaseSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import type { Saved } from "../file/recover.ts";
import { createHalves, SAVED_HALVES } from "./half-schema.ts";
import { Gone } from "./pack.ts";

/**
 * `tally_rows.place` is given by the counter in `tally_outbox`, under the write lock: it rises in the order of commit and is
 * never used twice. A parked row stays where it is, with a line in `tally_parked_rows`.
 *
 * Identities are found by the id's own bytes, and `nth` tells those of one id apart (other topics). Not by a hash: ids rise with
 * time (UUIDv7, numbers), so that the rows of a commit touch some pages of the index; by hash they would touch, and write, all.
 */
export function createOutbox(sql: DatabaseSync): void {
  sql.exec(`
    CREATE TABLE IF NOT EXISTS tally_rows (place INTEGER PRIMARY KEY, id BLOB NOT NULL, nth INTEGER NOT NULL, slot INTEGER,
      stored_at INTEGER NOT NULL, crc INTEGER NOT NULL, record BLOB NOT NULL);
    CREATE UNIQUE INDEX IF NOT EXISTS tally_rows_id ON tally_rows (id, nth);
    CREATE TABLE IF NOT EXISTS tally_parked_rows (place INTEGER PRIMARY KEY, code TEXT NOT NULL, reason TEXT NOT NULL, parked_at INTEGER NOT NULL);
    CREATE TABLE IF NOT EXISTS tally_damaged_rows (place INTEGER PRIMARY KEY, slot INTEGER, stored_at INTEGER, crc INTEGER, record BLOB);
    CREATE TABLE IF NOT EXISTS tally_outbox (one INTEGER PRIMARY KEY CHECK (one = 1), next INTEGER NOT NULL, rows INTEGER NOT NULL, bytes INTEGER NOT NULL);
    INSERT OR IGNORE INTO tally_outbox VALUES (1, 1, 0, 0);
  `);
  createHalves(sql);
  createGiven(sql);
  createPacks(sql);
}

/** By destination, how far rows have been given to a relay. */
export function createGiven(sql: DatabaseSync): void {
  sql.exec(
    "CREATE TABLE IF NOT EXISTS tally_given (destination TEXT PRIMARY KEY, up_to INTEGER NOT NULL) WITHOUT ROWID",
  );
}

/** Rows of the places from `place` on, with ids from `first` to `last`; which of them are gone is a bit each, once any is. */
export function createPacks(sql: DatabaseSync): void {
  sql.exec(`
    CREATE TABLE IF NOT EXISTS tally_packs (place INTEGER PRIMARY KEY, rows INTEGER NOT NULL, bytes INTEGER NOT NULL, stored_at INTEGER NOT NULL,
      first BLOB NOT NULL, last BLOB NOT NULL, list BLOB NOT NULL, records BLOB NOT NULL);
    CREATE INDEX IF NOT EXISTS tally_packs_first ON tally_packs (first);
    CREATE TABLE IF NOT EXISTS tally_packs_gone (place INTEGER PRIMARY KEY, gone BLOB NOT NULL);
  `);
}

/** What can be saved of a damaged outbox. */
export const SAVED_OUTBOX: readonly Saved[] = [
  {
    table: "tally_rows",
    columns: ["place", "id", "nth", "slot", "stored_at", "crc", "record"],
    order: "place",
    isWhole: (row) => row["record"] instanceof Uint8Array && crc32(row["record"]) === Number(row["crc"]),
  },
  { table: "tally_parked_rows", columns: ["place", "code", "reason", "parked_at"], order: "place" },
  SAVED_HALVES,
  { table: "tally_given", columns: ["destination", "up_to"], order: "destination", since: 4 },
  {
    table: "tally_packs",
    columns: ["place", "rows", "bytes", "stored_at", "first", "last", "list", "records"],
    order: "place",
    since: 5,
    // Spoilt records in it are set aside one by one, when they are read.
    isWhole: ({ list, records }) => list instanceof Uint8Array && records instanceof Uint8Array,
  },
  { table: "tally_packs_gone", columns: ["place", "gone"], order: "place", since: 5 },
];

/** Places that nobody saw may have been given: far beyond what one commit takes, none is used twice. */
const GAP = 1_000_000;

export function repairOutbox(sql: DatabaseSync): void {
  sql.exec(`
    DELETE FROM tally_parked_rows WHERE place NOT IN (SELECT place FROM tally_rows);
    DELETE FROM tally_packs_gone WHERE place NOT IN (SELECT place FROM tally_packs);
    UPDATE tally_outbox SET next = ${GAP} + max((SELECT coalesce(max(place), 0) FROM tally_rows), (SELECT coalesce(max(place + rows), 0) FROM tally_packs)),
      rows = (SELECT count(*) FROM tally_rows) + (SELECT coalesce(sum(rows), 0) FROM tally_packs),
      bytes = (SELECT coalesce(sum(length(record)), 0) FROM tally_rows) + (SELECT coalesce(sum(bytes), 0) FROM tally_packs);
  `);
  const gone = sql.prepare("SELECT rows, gone FROM tally_packs JOIN tally_packs_gone USING (place)").all() as {
    rows: number;
    gone: Uint8Array;
  }[];
  const count = gone.reduce((sum, each) => sum + new Gone(each.rows, each.gone).count, 0);
  sql.prepare("UPDATE tally_outbox SET rows = rows - ?").run(count);
}
