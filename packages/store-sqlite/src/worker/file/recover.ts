import { DatabaseSync } from "node:sqlite";
import { messageOf } from "../fault.ts";
import { readStamp } from "./stamp.ts";

/** A table to save, and whether a row of it is as it was stored. */
export interface Saved {
  readonly table: string;
  readonly columns: readonly string[];
  /** In the order of these a table is read. */
  readonly order: string;
  readonly isWhole?: (row: Readonly<Record<string, unknown>>) => boolean;
  /** The format that it came with: older stores have no such table. */
  readonly since?: number;
}

export interface Recovered {
  readonly rows: number;
  /** Read, and not what was stored. */
  readonly spoilt: number;
  /** A table that could not be read from end to end. */
  readonly torn: readonly string[];
}

/**
 * Copies what can be read of a damaged store: forward to the first bad page, then backward from the end to the last one.
 * The damaged file is only read.
 */
export function recover(
  from: string,
  into: DatabaseSync,
  tables: (damaged: DatabaseSync) => readonly Saved[],
): Recovered {
  let [rows, spoilt] = [0, 0];
  const torn: string[] = [];
  let damaged: DatabaseSync;
  try {
    damaged = new DatabaseSync(from, { readOnly: true, timeout: 0 });
  } catch {
    return { rows, spoilt, torn: ["everything"] };
  }
  try {
    for (const saved of list(damaged, tables, torn)) {
      const insert = into.prepare(
        `INSERT OR IGNORE INTO ${saved.table} (${saved.columns.join(", ")}) VALUES (${saved.columns.map(() => "?").join(", ")})`,
      );
      const copy = (direction: "ASC" | "DESC"): string | null => {
        try {
          const read = damaged.prepare(
            `SELECT ${saved.columns.join(", ")} FROM ${saved.table} NOT INDEXED ORDER BY ${saved.order} ${direction}`,
          );
          read.setReadBigInts(true);
          for (const row of read.iterate()) {
            if (saved.isWhole?.(row) === false) {
              spoilt++;
              continue;
            }
            if (insert.run(...saved.columns.map((column) => row[column] ?? null)).changes === 1) rows++;
          }
          return null;
        } catch (error) {
          return messageOf(error);
        }
      };
      if (copy("ASC") === null) continue;
      torn.push(saved.table);
      copy("DESC");
    }
  } finally {
    damaged.close();
  }
  return { rows, spoilt, torn };
}

function list(
  damaged: DatabaseSync,
  tables: (damaged: DatabaseSync) => readonly Saved[],
  torn: string[],
): readonly Saved[] {
  try {
    const format = readStamp(damaged)?.format ?? Infinity;
    return tables(damaged).filter(({ since = 0 }) => since <= format);
  } catch {
    torn.push("everything");
    return [];
  }
}
