import type { StatementSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import { AT, FLAG, partsOf, slotOf, viewOf } from "../../record/layout.ts";
import type { Database } from "../file/database.ts";
import { SQLITE, sqliteCode } from "../fault.ts";
import { BoundReached } from "../group.ts";
import { PUT, type PutArgs } from "../protocol.ts";

const FRAME = 4;

/** Stores packs of records, each row by itself. Runs inside a transaction. */
export class Rows {
  readonly #maxSum: number | null;
  readonly #insert: StatementSync;
  readonly #find: StatementSync;
  readonly #counters: StatementSync;
  readonly #count: StatementSync;
  /** From the first job that met the bound to the end of its commit: who came later is not stored either. */
  #full = false;

  /** @param maxSum Bound of the records' sum, for a file that has none of its own. */
  constructor(db: Database, maxSum: number | null) {
    this.#maxSum = maxSum;
    // OR IGNORE: with it SQLite needs no copy of each page to undo the statement alone, and the answer says if it was there.
    this.#insert = db.sql.prepare(
      "INSERT OR IGNORE INTO tally_rows (place, id, nth, slot, stored_at, crc, record) VALUES (?, ?, ?, ?, ?, ?, ?)",
    );
    this.#find = db.sql.prepare("SELECT nth, record FROM tally_rows WHERE id = ? ORDER BY nth");
    this.#counters = db.sql.prepare("SELECT next, rows, bytes FROM tally_outbox");
    this.#count = db.sql.prepare("UPDATE tally_outbox SET next = ?, rows = ?, bytes = ?");
  }

  /** A commit begins: what is deleted since may have made room. */
  begun(): void {
    this.#full = false;
  }

  /** @param limit Rows from this index on are not tried. @returns one code a row. */
  put({ bytes, used, rows, wall }: PutArgs, limit: { rows: number }): Uint8Array<ArrayBuffer> {
    const results = new Uint8Array(rows);
    const pack = new Uint8Array(bytes, 0, used);
    const view = viewOf(pack);
    const counters = this.#counters.get() as { next: number; rows: number; bytes: number };
    if (this.#full) limit.rows = 0;
    let at = 0;
    for (let i = 0; i < rows; i++) {
      const length = view.getUint32(at, true);
      const record = pack.subarray(at + FRAME, at + FRAME + length);
      at += FRAME + length;
      if (i >= limit.rows || (this.#maxSum !== null && counters.bytes + length > this.#maxSum)) {
        results[i] = PUT.full;
        continue;
      }
      try {
        const result = this.#one(record, counters.next, wall);
        results[i] = result;
        if (result !== PUT.stored) continue;
      } catch (error) {
        if (sqliteCode(error) !== SQLITE.full) throw error;
        limit.rows = i;
        throw new BoundReached();
      }
      counters.next++;
      counters.rows++;
      counters.bytes += length;
    }
    if (limit.rows < rows) this.#full = true;
    this.#count.run(counters.next, counters.rows, counters.bytes);
    return results;
  }

  /** Rows left the store. */
  left(rows: number, bytes: number): void {
    const counters = this.#counters.get() as { next: number; rows: number; bytes: number };
    this.#count.run(counters.next, counters.rows - rows, counters.bytes - bytes);
  }

  counted(): { readonly rows: number; readonly bytes: number } {
    return this.#counters.get() as { rows: number; bytes: number };
  }

  #one(record: Uint8Array, place: number, wall: number): number {
    const view = viewOf(record);
    const idAt = AT.texts + view.getUint16(AT.head, true);
    const id = record.subarray(idAt, idAt + view.getUint16(AT.id, true));
    const slot = slotOf(view);
    const crc = crc32(record);
    if (this.#insert.run(place, id, 0, slot, wall, crc, record).changes === 1) return PUT.stored;
    const found = this.#find.all(id) as { nth: number; record: Uint8Array }[];
    for (const other of found) {
      const result = compare(record, other.record);
      if (result !== null) return result;
    }
    // The same id on another topic, or of another producer.
    this.#insert.run(place, id, (found.at(-1)?.nth ?? -1) + 1, slot, wall, crc, record);
    return PUT.stored;
  }
}

/** What a record is beside one that is stored: null if their identities differ, compared as bytes. */
function compare(given: Uint8Array, stored: Uint8Array): number | null {
  const [a, b] = [
    Buffer.from(given.buffer, given.byteOffset, given.length),
    Buffer.from(stored.buffer, stored.byteOffset, stored.length),
  ];
  const [x, y] = [partsOf(viewOf(a)), partsOf(viewOf(b))];
  const part = (from: "head" | keyof typeof x, to: keyof typeof x | "end"): boolean => {
    const [af, bf] = from === "head" ? [AT.texts, AT.texts] : [x[from], y[from]];
    const [at, bt] = to === "end" ? [a.length, b.length] : [x[to], y[to]];
    return a.compare(b, bf, bt, af, at) === 0;
  };
  // Head and id by themselves: their border could lie elsewhere in the same bytes.
  if (!part("head", "id") || !part("id", "traits")) return null;
  const keyed = (a[AT.flags] ?? 0) & FLAG.key;
  return keyed === ((b[AT.flags] ?? 0) & FLAG.key) && part("key", "extra") && part("body", "end")
    ? PUT.same
    : PUT.conflict;
}
