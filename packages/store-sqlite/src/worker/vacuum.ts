import type { Database } from "./file/database.ts";

/** One call that gave everything back took seconds: a step is some milliseconds. */
const STEP_PAGES = 128;
/** Free pages that are kept for what comes next, while there are rows. */
const KEEP_PAGES = 1024;

/** Gives one step of free pages back to the disk. @returns true if there is more to do. */
export function vacuumStep(db: Database, empty: boolean): boolean {
  const keep = empty ? 8 : KEEP_PAGES;
  if (db.number("freelist_count") <= keep) return false;
  db.sql.exec(`PRAGMA incremental_vacuum(${STEP_PAGES})`);
  return true;
}
