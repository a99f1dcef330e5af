import type { Database } from "./file/database.ts";

/** One call that gave everything back took seconds: a step is some milliseconds. */
const STEP_PAGES = 128;
/** Free pages that are kept for what comes next, while there are rows. */
const KEEP_PAGES = 1024;
/**
 * And as long as they are fewer than so many times the others: each page that goes back costs the move of one from the end of
 * the file, where the rows are that leave next. Emptied at the speed of the relay, a file would be moved through its own log.
 */
const KEEP_TIMES = 4;

/** Gives one step of free pages back to the disk. @returns true if there is more to do. */
export function vacuumStep(db: Database, empty: boolean): boolean {
  const free = db.number("freelist_count");
  if (free <= (empty ? 8 : KEEP_PAGES)) return false;
  if (!empty && free < KEEP_TIMES * (db.number("page_count") - free)) return false;
  db.sql.exec(`PRAGMA incremental_vacuum(${STEP_PAGES})`);
  return true;
}
