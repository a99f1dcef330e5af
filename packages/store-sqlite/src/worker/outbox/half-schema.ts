import type { DatabaseSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import type { Saved } from "../file/recover.ts";

/**
 * Numbers of commits begin here, so that all take as many bytes as this does: a row that keeps its length is written where it
 * is, and at the bound there is no other room.
 */
export const NOT_COMMITTED: number = 2 ** 50;

export const STATE = { undecided: 0, committed: 1, released: 2, rolledBack: 3 } as const;

/**
 * A half message has its record until it is released as a row, or rolled back; what was decided stays, for those who ask
 * again. `until` is monotonic time of this boot, `lease` its length: a time that lies further ahead than that is of another
 * boot, and over. `committed` rises in the order of the commits.
 */
export function createHalves(sql: DatabaseSync): void {
  sql.exec(`
    CREATE TABLE IF NOT EXISTS tally_halves (place INTEGER PRIMARY KEY AUTOINCREMENT, owner TEXT NOT NULL, identity BLOB NOT NULL UNIQUE,
      same BLOB NOT NULL, state INTEGER NOT NULL, fence INTEGER NOT NULL, until REAL NOT NULL, lease REAL NOT NULL, checks INTEGER NOT NULL,
      prepared_at INTEGER NOT NULL, committed INTEGER NOT NULL, forget_at INTEGER, parked_at INTEGER, reason TEXT, crc INTEGER NOT NULL, record BLOB);
    CREATE INDEX IF NOT EXISTS tally_halves_open ON tally_halves (owner, until) WHERE state < ${STATE.released};
    CREATE INDEX IF NOT EXISTS tally_halves_old ON tally_halves (forget_at) WHERE state >= ${STATE.released};
  `);
}

export const SAVED_HALVES: Saved = {
  table: "tally_halves",
  since: 2,
  columns: [
    "place",
    "owner",
    "identity",
    "same",
    "state",
    "fence",
    "until",
    "lease",
    "checks",
    "prepared_at",
    "committed",
    "forget_at",
    "parked_at",
    "reason",
    "crc",
    "record",
  ],
  order: "place",
  // Those that are decided for good have no record any more.
  isWhole: ({ record, crc, state }) =>
    record instanceof Uint8Array ? crc32(record) === Number(crc) : Number(state) >= STATE.released,
};
