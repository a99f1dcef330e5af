import type { SQLInputValue, StatementSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import { FRAME, idAt, idLength, slotAt, slotOf, viewOf } from "../../record/layout.ts";
import { Commons } from "../../record/short.ts";
import type { Database } from "../file/database.ts";
import { SQLITE, sqliteCode } from "../fault.ts";
import { BoundReached } from "../group.ts";
import { PUT, type PutArgs } from "../protocol.ts";
import { compare } from "./compare.ts";
import { commonsBehind, idOf, LEAST_ROWS, listOf, rowsIn } from "./pack.ts";
import { KnownIds } from "./known-ids.ts";
import type { Pack, Packs } from "./packs.ts";

/** Rows that one statement stores: a third less time for each than one by one, and no gain beyond. */
const TOGETHER = 8;
const COLUMNS = 6;

/** How far a batch is tried: what a job that is run again has learnt. */
export interface Limit {
  /** Rows from this index on are not tried. */
  rows: number;
  /** The bound was met by several at once: one by one tells which of them still fit. */
  single: boolean;
}

interface Counters {
  next: number;
  rows: number;
  bytes: number;
}

/** Stores packs of records, each as a whole where that may be, else each row by itself. Runs inside a transaction. */
export class Rows {
  readonly #maxSum: number | null;
  readonly #packs: Packs;
  readonly #packing: boolean;
  readonly #insert: StatementSync;
  readonly #together: StatementSync;
  readonly #values: SQLInputValue[] = Array.from({ length: TOGETHER * COLUMNS }, () => null);
  readonly #stored: StatementSync;
  readonly #find: StatementSync;
  readonly #counters: StatementSync;
  readonly #count: StatementSync;
  readonly #moved: StatementSync;
  readonly #aside: StatementSync;
  readonly #ids: KnownIds;
  /** From the first job that met the bound to the end of its commit: who came later is not stored either. */
  #full = false;

  /**
   * @param maxSum Bound of the records' sum, for a file that has none of its own.
   * @param packing False: somebody who knows no packs has the store open.
   */
  constructor(db: Database, packs: Packs, maxSum: number | null, packing: boolean) {
    this.#maxSum = maxSum;
    this.#packs = packs;
    this.#packing = packing;
    // OR IGNORE: with it SQLite needs no copy of each page to undo the statement alone, and the answer says if it was there.
    const insert = "INSERT OR IGNORE INTO tally_rows (place, id, slot, stored_at, crc, record, nth) VALUES ";
    this.#insert = db.sql.prepare(`${insert}(?, ?, ?, ?, ?, ?, ?)`);
    this.#together = db.sql.prepare(
      insert + Array.from({ length: TOGETHER }, () => "(?, ?, ?, ?, ?, ?, 0)").join(", "),
    );
    this.#ids = new KnownIds(db, packs);
    this.#stored = db.sql.prepare("SELECT place FROM tally_rows WHERE place >= ? AND place < ?");
    this.#find = db.sql.prepare("SELECT nth, record FROM tally_rows WHERE id = ? ORDER BY nth");
    this.#counters = db.sql.prepare("SELECT next, rows, bytes FROM tally_outbox");
    this.#count = db.sql.prepare("UPDATE tally_outbox SET next = ?, rows = ?, bytes = ?");
    this.#moved = db.sql.prepare(
      "INSERT INTO tally_rows (place, id, slot, stored_at, crc, record, nth) VALUES (?1, ?2, ?3, ?4, ?5, ?6, (SELECT coalesce(max(nth) + 1, 0) FROM tally_rows WHERE id = ?2))",
    );
    this.#aside = db.sql.prepare(
      "INSERT OR REPLACE INTO tally_damaged_rows (place, slot, stored_at, crc, record) VALUES (?, ?, ?, ?, ?)",
    );
  }

  /** A commit begins: what is deleted since may have made room. */
  begun(): void {
    this.#full = false;
  }

  /** @returns one code a row. */
  put({ bytes, used, common, rows, wall }: PutArgs, limit: Limit): Uint8Array<ArrayBuffer> {
    const results = new Uint8Array(rows);
    const batch = new Uint8Array(bytes, 0, used);
    const view = viewOf(batch);
    const commons = new Commons(new Uint8Array(bytes, used, common));
    const behind = commonsBehind(commons.bytes);
    const counters = this.#counters.get() as unknown as Counters;
    if (this.#full) limit.rows = 0;
    this.#ids.begin();
    let at = 0;
    let i = 0;
    let loose = 0;
    while (i < rows) {
      if (i >= loose && this.#packing && !limit.single) {
        // As many as a pack takes, or none of them.
        const count = rowsIn(view, at, rows - i, behind.length);
        const end = this.#asPack(batch, view, at, count, behind, wall, counters, limit, i);
        i += end === null ? 0 : count;
        loose = end === null ? i + count : i;
        at = end ?? at;
        if (end !== null) continue;
      }
      const together = !limit.single && i + TOGETHER <= Math.min(rows, limit.rows);
      const end = together ? this.#several(batch, view, at, commons, wall, counters, limit, results, i) : null;
      if (end !== null) {
        at = end;
        i += TOGETHER;
        continue;
      }
      const length = view.getUint32(at, true);
      const record = commons.expand(batch.subarray(at + FRAME, at + FRAME + length));
      at += FRAME + length;
      if (i < limit.rows && this.#fits(counters, record.length)) {
        const result = this.#guarded(limit, i, () => this.#one(record, counters.next, wall));
        results[i] = result;
        if (result === PUT.stored) {
          counters.next++;
          counters.rows++;
          counters.bytes += record.length;
        }
      } else results[i] = PUT.full;
      i++;
    }
    if (limit.rows < rows) this.#full = true;
    this.#count.run(counters.next, counters.rows, counters.bytes);
    return results;
  }

  /** @returns where the following row begins, or null: these must go one by one, and nothing was written. */
  #asPack(
    batch: Uint8Array,
    view: DataView,
    from: number,
    rows: number,
    behind: Uint8Array,
    wall: number,
    counters: Counters,
    limit: Limit,
    first: number,
  ): number | null {
    if (rows < LEAST_ROWS || first + rows > limit.rows) return null;
    const listed = listOf(batch, view, from, rows, behind);
    if (listed === null || !(this.#ids.isBeyond(listed.first) || this.#packs.fits(listed))) return null;
    const bytes = listed.records.length - rows * FRAME;
    if (!this.#fits(counters, bytes)) return null;
    const pack: Pack = { place: counters.next, rows, storedAt: wall, bytes };
    this.#guarded(limit, first, () => this.#packs.add(pack, listed));
    counters.next += rows;
    counters.rows += rows;
    counters.bytes += bytes;
    this.#ids.packed(listed.last);
    return from + listed.records.length;
  }

  /**
   * Makes loose rows of what is left of a pack, at their places.
   * @returns those that are not what was stored: they are set aside, and no rows any more
   */
  loosen(pack: Pack): readonly number[] {
    const damaged: number[] = [];
    const bytes = this.#packs.read(pack);
    const gone = this.#packs.gone(pack);
    // Its room first: at the bound there is no other.
    this.#packs.remove(pack);
    let kept = 0;
    for (let row = 0; row < pack.rows; row++) {
      if (gone.has(row)) continue;
      const place = pack.place + row;
      const record = bytes.record(row);
      const id = record === null ? null : idOf(record);
      if (record === null || id === null) {
        damaged.push(place);
        this.#aside.run(place, bytes.slot(row), pack.storedAt, bytes.crc(row), bytes.bytes(row));
      } else {
        kept += record.length;
        this.#moved.run(place, id, bytes.slot(row), pack.storedAt, crc32(record), record);
      }
    }
    this.left(damaged.length, pack.bytes - kept);
    return damaged;
  }

  /** Stores one record. @returns its code */
  one(record: Uint8Array, wall: number): number {
    this.#ids.begin();
    const counters = this.#counters.get() as { next: number; rows: number; bytes: number };
    if (this.#maxSum !== null && counters.bytes + record.length > this.#maxSum) return PUT.full;
    const result = this.#one(record, counters.next, wall);
    if (result === PUT.stored) this.#count.run(counters.next + 1, counters.rows + 1, counters.bytes + record.length);
    return result;
  }

  /** Rows left the store. */
  left(rows: number, bytes: number): void {
    const counters = this.#counters.get() as { next: number; rows: number; bytes: number };
    this.#count.run(counters.next, counters.rows - rows, counters.bytes - bytes);
  }

  counted(): { readonly rows: number; readonly bytes: number } {
    return this.#counters.get() as { rows: number; bytes: number };
  }

  #fits(counters: Counters, length: number): boolean {
    return this.#maxSum === null || counters.bytes + length <= this.#maxSum;
  }

  /**
   * The next rows of a batch by one statement. Each takes a place, also one that turns out to be there already: what is
   * found again under another topic has its place among its neighbours.
   * @returns where the following row begins, or null: these must go one by one, and nothing was written.
   */
  #several(
    batch: Uint8Array,
    view: DataView,
    from: number,
    commons: Commons,
    wall: number,
    counters: Counters,
    limit: Limit,
    results: Uint8Array,
    first: number,
  ): number | null {
    const values = this.#values;
    const { next } = counters;
    let at = from;
    let bytes = 0;
    for (let row = 0, value = 0; row < TOGETHER; row++) {
      const start = at + FRAME;
      at = start + view.getUint32(at, true);
      const stored = batch.subarray(start, at);
      const id = batch.subarray(idAt(view, start), idAt(view, start) + idLength(view, start));
      if (this.#ids.mayBePacked(id)) return null;
      const slot = slotAt(view, start);
      const record = commons.expand(stored);
      bytes += record.length;
      values[value++] = next + row;
      values[value++] = id;
      values[value++] = slot < 0 ? null : slot;
      values[value++] = wall;
      values[value++] = crc32(record);
      values[value++] = record;
    }
    if (!this.#fits(counters, bytes)) return null;
    const stored = this.#guarded(limit, first, () => Number(this.#together.run(...values).changes));
    this.#ids.loose();
    counters.next += TOGETHER;
    counters.rows += TOGETHER;
    counters.bytes += bytes;
    if (stored === TOGETHER) return at; // their codes are 0
    const there = new Set(this.#stored.all(next, next + TOGETHER).map(({ place }) => Number(place)));
    for (let row = 0; row < TOGETHER; row++) {
      if (there.has(next + row)) continue;
      const record = values[row * COLUMNS + COLUMNS - 1] as Uint8Array;
      const result = this.#guarded(limit, first, () => this.#one(record, next + row, wall));
      results[first + row] = result;
      if (result === PUT.stored) continue;
      counters.rows--;
      counters.bytes -= record.length;
    }
    return at;
  }

  /** Where the bound is met the transaction is begun anew, up to there. */
  #guarded<T>(limit: Limit, index: number, work: () => T): T {
    try {
      return work();
    } catch (error) {
      if (sqliteCode(error) !== SQLITE.full) throw error;
      if (limit.single) limit.rows = index;
      limit.single = true;
      throw new BoundReached();
    }
  }

  #one(record: Uint8Array, place: number, wall: number): number {
    const view = viewOf(record);
    const id = record.subarray(idAt(view, 0), idAt(view, 0) + idLength(view, 0));
    const slot = slotOf(view);
    const crc = crc32(record);
    this.#ids.loose();
    const packed = this.#ids.mayBePacked(id) ? this.#packs.find(id) : null;
    const there = packed === null ? null : compare(record, packed);
    if (there !== null) return there;
    if (this.#insert.run(place, id, slot, wall, crc, record, 0).changes === 1) return PUT.stored;
    const found = this.#find.all(id) as { nth: number; record: Uint8Array }[];
    for (const other of found) {
      const result = compare(record, other.record);
      if (result !== null) return result;
    }
    // The same id on another topic, or of another producer.
    this.#insert.run(place, id, slot, wall, crc, record, (found.at(-1)?.nth ?? -1) + 1);
    return PUT.stored;
  }
}
