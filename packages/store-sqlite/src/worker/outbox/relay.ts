import type { StatementSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import { AT, partsOf, viewOf } from "../../record/layout.ts";
import type { Database } from "../file/database.ts";
import { Fault } from "../fault.ts";
import type { Answer, Records } from "../protocol.ts";
import type { RelayLock } from "./lock.ts";
import type { Parked } from "./parked.ts";

/** A look hands out no more than this at once, but one row at least. */
const TAKE_BYTES = 4 * 1024 * 1024;

interface Taken {
  readonly place: number;
  readonly slot: number | null;
  readonly stored_at: number;
  readonly crc: number;
  readonly record: Uint8Array;
}

/** What one lease has been given, and how far it has read. */
export class Relay {
  readonly lock: RelayLock;
  readonly given: Set<number> = new Set();
  readonly #path: string;
  readonly #parked: Parked;
  readonly #next: StatementSync;
  readonly #serves: Map<string, boolean> = new Map();
  readonly #destinations: ReadonlySet<string>;
  /** Rows up to here were given or passed over. Rows that are stored later lie behind it: places rise with commits. */
  #cursor = 0;

  constructor(db: Database, lock: RelayLock, parked: Parked, destinations: readonly string[]) {
    this.lock = lock;
    this.#path = db.path;
    this.#parked = parked;
    this.#destinations = new Set(destinations);
    this.#next = db.sql.prepare(
      "SELECT place, slot, stored_at, crc, record FROM tally_rows WHERE place > ? ORDER BY place",
    );
  }

  /** What lies at or behind `place` may go now. */
  rewind(place: number): void {
    this.#cursor = Math.min(this.#cursor, place - 1);
  }

  /** @param damaged Gets the rows whose bytes are not what was stored. */
  take(most: number, damaged: (place: number) => void): Answer {
    if (!this.lock.holds()) throw new Fault("fenced", `the relay's lock on ${this.#path} was deleted or replaced`);
    if (this.#parked.refresh()) this.#cursor = 0;
    const taken: Taken[] = [];
    let bytes = 0;
    for (const each of this.#next.iterate(this.#cursor)) {
      const row = each as unknown as Taken;
      if (taken.length >= most || (taken.length > 0 && bytes + row.record.length > TAKE_BYTES)) break;
      this.#cursor = row.place;
      if (this.given.has(row.place) || this.#parked.holds(row.place, row.slot)) continue;
      if (crc32(row.record) !== row.crc) damaged(row.place);
      else if (this.#isServed(row.record)) {
        taken.push(row);
        bytes += row.record.length;
      }
    }
    for (const { place } of taken) this.given.add(place);
    return packRecords(taken);
  }

  #isServed(record: Uint8Array): boolean {
    const head = Buffer.from(record.buffer, record.byteOffset, record.length).toString(
      "latin1",
      AT.texts,
      partsOf(viewOf(record)).id,
    );
    let served = this.#serves.get(head);
    if (served === undefined) {
      const [destination] = JSON.parse(Buffer.from(head, "latin1").toString()) as [string];
      served = this.#destinations.has(destination);
      // As many as there are topics; should that grow without end, it begins anew.
      if (this.#serves.size > 10_000) this.#serves.clear();
      this.#serves.set(head, served);
    }
    return served;
  }
}

export function packRecords(
  rows: readonly { readonly place: number; readonly stored_at: number; readonly record: Uint8Array }[],
): Answer {
  const bytes = new ArrayBuffer(rows.reduce((sum, row) => sum + row.record.length, 0));
  const target = new Uint8Array(bytes);
  const records: { places: number[]; at: number[]; ends: number[]; bytes: ArrayBuffer } = {
    places: [],
    at: [],
    ends: [],
    bytes,
  };
  let end = 0;
  for (const { place, stored_at, record } of rows) {
    target.set(record, end);
    end += record.length;
    records.places.push(place);
    records.at.push(stored_at);
    records.ends.push(end);
  }
  return { value: records satisfies Records, transfer: [bytes] };
}
