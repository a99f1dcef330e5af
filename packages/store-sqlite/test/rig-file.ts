import { closeSync, openSync, writeSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";

/** The user's own connection. */
export function withFile<T>(path: string, work: (sql: DatabaseSync) => T): T {
  const sql = new DatabaseSync(path, { timeout: 5_000 });
  try {
    return work(sql);
  } finally {
    sql.close();
  }
}

/** Makes a store what a Tally of then would have made. */
export function asFormat(path: string, format: 1 | 2 | 4 | 5): void {
  withFile(path, (sql) => {
    const inbox = sql.prepare("SELECT 1 AS one FROM sqlite_schema WHERE name = 'tally_inbox'").get() !== undefined;
    if (format < 2) sql.exec("DROP TABLE tally_halves");
    if (format < 4) sql.exec("DROP TABLE tally_given");
    if (format < 5) sql.exec("DROP TABLE tally_packs; DROP TABLE tally_packs_gone");
    if (inbox) sql.exec("ALTER TABLE tally_inbox DROP COLUMN by_id");
    sql.exec(`UPDATE tally_store SET format = ${format}`);
  });
}

/** Writes over the root page of an index: what it indexes can still be read. */
export function spoil(path: string, index: string): void {
  const page = withFile(
    path,
    (sql) => sql.prepare("SELECT rootpage FROM sqlite_schema WHERE name = ?").get(index)?.["rootpage"],
  );
  const file = openSync(path, "r+");
  writeSync(file, Buffer.alloc(1_000, 0xa5), 0, 1_000, (Number(page) - 1) * 16_384);
  closeSync(file);
}
