import type { DatabaseSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import type { Saved } from "../file/recover.ts";
import { repairIdentities } from "./identity.ts";

/**
 * `tally_inbox` counts fences and ages buckets (see ageing.ts). Marks lie in one table a bucket. A key is parked as long as
 * it has a row in `tally_parked`.
 */
export function createInbox(sql: DatabaseSync): void {
  sql.exec(`
    CREATE TABLE tally_inbox (one INTEGER PRIMARY KEY CHECK (one = 1), fence INTEGER NOT NULL, bucket INTEGER NOT NULL, aged REAL NOT NULL,
      boot TEXT NOT NULL, boots INTEGER NOT NULL, monotonic REAL NOT NULL, wall REAL NOT NULL,
      by_id INTEGER NOT NULL);
    INSERT INTO tally_inbox VALUES (1, 0, 1, 0, '', 0, 0, 0, 1);
    CREATE TABLE tally_parked (place INTEGER PRIMARY KEY AUTOINCREMENT, grp TEXT NOT NULL, topic TEXT NOT NULL, key TEXT NOT NULL,
      identity BLOB NOT NULL UNIQUE, reason TEXT NOT NULL, parked_at INTEGER NOT NULL, crc INTEGER NOT NULL, record BLOB NOT NULL);
    CREATE INDEX tally_parked_keys ON tally_parked (grp, topic, key, place);
  `);
  createBucket(sql, 1);
}

/** By identity (see identity.ts): text would take 25 % of the rate and 63 % more disk. */
export function createBucket(sql: DatabaseSync, bucket: number): void {
  sql.exec(`CREATE TABLE IF NOT EXISTS ${bucketTable(bucket)} (${MARK_COLUMNS[0]} BLOB PRIMARY KEY, body INTEGER NOT NULL, state INTEGER NOT NULL,
    attempts INTEGER NOT NULL, fence INTEGER NOT NULL, boot INTEGER NOT NULL, until REAL NOT NULL, reason TEXT) WITHOUT ROWID`);
}

export function bucketTable(bucket: number): string {
  return `tally_marks_${bucket}`;
}

export const MARK_COLUMNS = ["identity", "body", "state", "attempts", "fence", "boot", "until", "reason"] as const;

/** Numbers of the buckets there are, rising. */
export function bucketsIn(sql: DatabaseSync): readonly number[] {
  const rows = sql.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name GLOB 'tally_marks_*'").all();
  const numbers = rows.map((row) => Number(String(row["name"]).slice("tally_marks_".length)));
  return numbers.filter((n) => Number.isSafeInteger(n)).sort((a, b) => a - b);
}

/** What can be saved of a damaged inbox; its buckets are made in the new one as they are found. */
export function savedInbox(damaged: DatabaseSync, into: (bucket: number) => void): readonly Saved[] {
  const buckets = bucketsIn(damaged);
  for (const bucket of buckets) into(bucket);
  return [
    ...buckets.map((bucket) => ({ table: bucketTable(bucket), columns: MARK_COLUMNS, order: "identity" })),
    {
      table: "tally_parked",
      columns: ["place", "grp", "topic", "key", "identity", "reason", "parked_at", "crc", "record"],
      order: "place",
      isWhole: (row) => row["record"] instanceof Uint8Array && crc32(row["record"]) === Number(row["crc"]),
    },
  ];
}

/**
 * Fences far beyond those that a lost commit may have given, the bucket of the newest marks, and their identities. Leases are
 * over, since nobody has the store open; boots are counted anew, and one of before could be taken for this one, whose clock
 * may need as long as that boot lasted to come to its end.
 */
export function repairInbox(sql: DatabaseSync): void {
  const buckets = bucketsIn(sql);
  let fence = 0;
  for (const bucket of buckets) {
    sql.exec(`UPDATE ${bucketTable(bucket)} SET until = 0 WHERE until > 0`);
    fence = Math.max(
      fence,
      Number(sql.prepare(`SELECT coalesce(max(fence), 0) AS fence FROM ${bucketTable(bucket)}`).get()?.["fence"]),
    );
  }
  sql.prepare("UPDATE tally_inbox SET fence = ?, bucket = ?").run(fence + 1_000_000, buckets.at(-1) ?? 1);
  repairIdentities(sql, [...buckets.map(bucketTable), "tally_parked"]);
}
