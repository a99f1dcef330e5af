import type { StatementSync } from "node:sqlite";
import type { Database } from "../file/database.ts";
import { FENCE_SLOTS } from "../../record/slots.ts";
import { viewOf } from "../../record/layout.ts";
import { Gone, type Listed, PackBytes, slotIn } from "./pack.ts";

/** Packs whose bytes are kept for the relay, which comes back to the last ones. */
const KEPT = 4;

/** A stored pack: rows of the places from `place` on. */
export interface Pack {
  readonly place: number;
  readonly rows: number;
  readonly storedAt: number;
  /** The sum of its records. */
  readonly bytes: number;
}

/** A pack some of whose rows have just gone. */
export interface Broken {
  readonly pack: Pack;
  readonly gone: Gone;
}

interface Ended {
  /** Places that are in no pack. */
  readonly loose: readonly number[];
  readonly rows: number;
  readonly bytes: number;
  readonly broken: readonly Broken[];
}

/**
 * Rows that were put together and whose ids rise lie in one row of a table, which costs less than a row each. Which of them are
 * gone is in a table beside it, so that the pack itself is written once and deleted once.
 *
 * The ids of two packs lie in ranges apart from each other, and where a pack is made no loose row's does: so an identity is
 * found by its pack's first id, and needs no line of its own in an index. What would break that is stored as loose rows.
 */
export class Packs {
  readonly #insert: StatementSync;
  readonly #below: StatementSync;
  readonly #overlapping: StatementSync;
  readonly #top: StatementSync;
  readonly #at: StatementSync;
  readonly #behind: StatementSync;
  readonly #bytes: StatementSync;
  readonly #gone: StatementSync;
  readonly #mark: StatementSync;
  readonly #unmark: StatementSync;
  readonly #delete: StatementSync;
  readonly #slots: StatementSync;
  readonly #kept: Map<number, PackBytes> = new Map();
  /** Where the last identity was found: the next one is there too. */
  #found: { readonly place: number; readonly bytes: PackBytes } | null = null;

  constructor({ sql }: Database) {
    const columns = "place, rows, stored_at AS storedAt, bytes";
    this.#insert = sql.prepare(
      "INSERT INTO tally_packs (place, rows, bytes, stored_at, first, last, list, records) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    );
    this.#below = sql.prepare(`SELECT ${columns}, last FROM tally_packs WHERE first <= ? ORDER BY first DESC LIMIT 1`);
    this.#overlapping = sql.prepare("SELECT 1 FROM tally_rows WHERE id BETWEEN ? AND ? LIMIT 1");
    this.#top = sql.prepare("SELECT last FROM tally_packs ORDER BY first DESC LIMIT 1");
    this.#at = sql.prepare(`SELECT ${columns} FROM tally_packs WHERE place <= ? ORDER BY place DESC LIMIT 1`);
    this.#behind = sql.prepare(`SELECT ${columns} FROM tally_packs WHERE place > ? ORDER BY place LIMIT 1`);
    this.#bytes = sql.prepare("SELECT list, records FROM tally_packs WHERE place = ?");
    this.#gone = sql.prepare("SELECT gone FROM tally_packs_gone WHERE place = ?");
    this.#mark = sql.prepare("INSERT OR REPLACE INTO tally_packs_gone (place, gone) VALUES (?, ?)");
    this.#unmark = sql.prepare("DELETE FROM tally_packs_gone WHERE place = ?");
    this.#delete = sql.prepare("DELETE FROM tally_packs WHERE place = ?");
    this.#slots = sql.prepare("SELECT rows, list, gone FROM tally_packs LEFT JOIN tally_packs_gone USING (place)");
  }

  /** Whether these ids lie where no other row's does. */
  fits({ first, last }: Pick<Listed, "first" | "last">): boolean {
    const below = this.#below.get(last) as { last: Uint8Array } | undefined;
    return (
      (below === undefined || Buffer.compare(below.last, first) < 0) && this.#overlapping.get(first, last) === undefined
    );
  }

  add(pack: Pack, { list, first, last, records }: Listed): void {
    this.#insert.run(pack.place, pack.rows, pack.bytes, pack.storedAt, first, last, list, records);
  }

  /**
   * The greatest id in any pack, null: there are no packs. What lies above needs no {@link find}. To be asked before each series
   * of these: what the last one saw may have been undone since, and its places given to others.
   */
  top(): Uint8Array | null {
    this.#found = null;
    return (this.#top.get() as { last: Uint8Array } | undefined)?.last ?? null;
  }

  /** The record of this id that is in a pack, or null. */
  find(id: Uint8Array): Uint8Array | null {
    const pack = this.#below.get(id) as (Pack & { readonly last: Uint8Array }) | undefined;
    if (pack === undefined || Buffer.compare(pack.last, id) < 0) return null;
    if (this.#found?.place !== pack.place) this.#found = { place: pack.place, bytes: this.#read(pack) };
    const { bytes } = this.#found;
    const row = bytes.find(id);
    return row < 0 || this.gone(pack).has(row) ? null : bytes.record(row);
  }

  /** The pack that has, or had, a row of this place. */
  at(place: number): Pack | null {
    const pack = this.#at.get(place) as Pack | undefined;
    return pack !== undefined && place < pack.place + pack.rows ? pack : null;
  }

  /** The first pack that ends behind this place. */
  endingBehind(place: number): Pack | null {
    return this.at(place + 1) ?? (this.#behind.get(place) as Pack | undefined) ?? null;
  }

  /** A committed one. */
  read(pack: Pack): PackBytes {
    let bytes = this.#kept.get(pack.place);
    if (bytes !== undefined) return bytes;
    bytes = this.#read(pack);
    for (const place of this.#kept.keys()) if (this.#kept.size >= KEPT) this.#kept.delete(place);
    this.#kept.set(pack.place, bytes);
    return bytes;
  }

  #read({ place, rows }: Pack): PackBytes {
    const { list, records } = this.#bytes.get(place) as { list: Uint8Array; records: Uint8Array };
    return new PackBytes(rows, list, records);
  }

  gone({ place, rows }: Pack): Gone {
    return new Gone(rows, (this.#gone.get(place) as { gone: Uint8Array } | undefined)?.gone ?? null);
  }

  /** Deletes rows of these places, in their order: those that are in packs. */
  end(places: readonly number[]): Ended {
    const loose: number[] = [];
    const broken: Broken[] = [];
    let [rows, bytes, next] = [0, 0, 0];
    while (next < places.length) {
      const first = places[next] as number;
      const pack = this.endingBehind(first - 1);
      const from = pack?.place ?? Number.POSITIVE_INFINITY;
      for (; (places[next] ?? from) < from; next++) loose.push(places[next] as number);
      if (pack === null || next === places.length) continue;
      const gone = this.gone(pack);
      const before = gone.count;
      const end = pack.place + pack.rows;
      for (; (places[next] ?? end) < end; next++) gone.add((places[next] as number) - pack.place);
      rows += gone.count - before;
      if (gone.count === pack.rows) {
        this.remove(pack);
        bytes += pack.bytes;
      } else if (gone.count > before) {
        this.#mark.run(pack.place, gone.bits);
        broken.push({ pack, gone });
      }
    }
    return { loose, rows, bytes, broken };
  }

  remove({ place }: Pack): void {
    this.#delete.run(place);
    this.#unmark.run(place);
    this.#kept.delete(place);
  }

  /** Adds the slots of what is left in packs. */
  countSlots(counts: Uint32Array): void {
    for (const line of this.#slots.iterate()) {
      const { rows, list, gone } = line as unknown as { rows: number; list: Uint8Array; gone: Uint8Array | null };
      const [view, left] = [viewOf(list), new Gone(rows, gone)];
      for (let row = 0; row < rows; row++) {
        const slot = left.has(row) ? null : slotIn(view, row);
        if (slot !== null && slot < FENCE_SLOTS) counts[slot] = (counts[slot] ?? 0) + 1;
      }
    }
  }
}
