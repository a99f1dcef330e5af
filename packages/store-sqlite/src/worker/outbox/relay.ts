import type { StatementSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import { AT } from "../../record/layout.ts";
import type { Database } from "../file/database.ts";
import { Fault } from "../fault.ts";
import type { Answer } from "../protocol.ts";
import { recordsOf, type StoredRecord } from "../records.ts";
import { GivenMark } from "./given.ts";
import type { RelayLock } from "./lock.ts";
import type { Gone } from "./pack.ts";
import type { Pack, Packs } from "./packs.ts";
import type { Parked } from "./parked.ts";

/** A look hands out no more than this at once, but one row at least. */
const TAKE_BYTES = 4 * 1024 * 1024;

/** A row as its statement gives it: an object with names took a third longer. */
type Line = readonly [place: number, slot: number | null, storedAt: number, crc: number, record: Uint8Array];

interface Taken extends StoredRecord {
  readonly doubtful: boolean;
}

/** What a look comes upon that somebody has to do something about. */
export interface Findings {
  /** Rows whose bytes are not what was stored. */
  readonly damaged: number[];
  /** Packs of which little is left, none of it on its way: it waits for a person, or for its topic. */
  readonly stuck: Pack[];
}

/** What the worker has to know of a row's destination and topic. */
export interface Head {
  readonly destination: string;
  readonly served: boolean;
  readonly topic: string;
}

/** What one lease has been given, and how far it has read. */
export class Relay {
  readonly lock: RelayLock;
  /** Places, each with what its row's head says. */
  readonly given: Map<number, Head> = new Map();
  /** Of what was given back, what may have been sent. */
  readonly #doubtful: Map<number, Head> = new Map();
  readonly #mark: GivenMark;
  readonly #db: Database;
  readonly #packs: Packs;
  readonly #parked: Parked;
  readonly #next: StatementSync;
  readonly #heads: Map<string, Head> = new Map();
  #last: { readonly bytes: Buffer; readonly head: Head } | null = null;
  readonly #destinations: ReadonlySet<string>;
  /** Rows up to here were given or passed over. Rows that are stored later lie behind it: places rise with commits. */
  #cursor = 0;
  /** Topics of which rows were passed over, since no more of theirs were wanted, and the first such row. */
  readonly #passed: Map<string, number> = new Map();

  constructor(
    db: Database,
    lock: RelayLock,
    packs: Packs,
    parked: Parked,
    destinations: readonly string[],
    surfaced: (what: string) => void,
  ) {
    this.lock = lock;
    this.#db = db;
    this.#packs = packs;
    this.#parked = parked;
    this.#destinations = new Set(destinations);
    this.#mark = new GivenMark(db, destinations, surfaced);
    this.#next = db.sql.prepare(
      "SELECT place, slot, stored_at, crc, record FROM tally_rows WHERE place > ? AND place <= ? ORDER BY place",
    );
    this.#next.setReturnArrays(true);
  }

  /** What lies at or behind `place` may go now. */
  rewind(place: number): void {
    this.#cursor = Math.min(this.#cursor, place - 1);
  }

  /** @param doubtful A copy of it may be out, although it is given back. */
  giveBack(place: number, doubtful: boolean): void {
    const head = this.given.get(place);
    if (head === undefined) return;
    this.given.delete(place);
    if (doubtful) this.#doubtful.set(place, head);
    this.rewind(place);
  }

  /** It is with the broker, or kept for a person. */
  end(place: number): void {
    this.given.delete(place);
    this.#doubtful.delete(place);
  }

  /** The lease ends; what it was given and has neither ended nor given back may be on its way. */
  release(): void {
    if (this.lock.holds()) this.#mark.leave([...this.given, ...this.#doubtful]);
    this.lock.release();
  }

  /** @param limits Rows of these topics given and not ended, at most. */
  take(most: number, limits: ReadonlyMap<string, number>, found: Findings): Answer {
    if (!this.lock.holds()) throw new Fault("fenced", `the relay's lock on ${this.#db.path} was deleted or replaced`);
    if (this.#parked.refresh()) this.#cursor = 0;
    const look = new Look(most, limits, this.given);
    const [cursor, passed] = [this.#cursor, [...this.#passed]];
    try {
      this.#db.reading(() => {
        // What was passed over comes first: it lies before what has not been read, and a topic's rows go in their order.
        for (const [topic, place] of passed) {
          if (!look.wants(topic)) continue;
          this.#passed.delete(topic);
          this.#read(look, place - 1, topic, found);
        }
        this.#read(look, this.#cursor, null, found);
      });
    } catch (error) {
      // Nobody gets what it has come to: as if it had not begun.
      for (const { place } of look.taken) this.given.delete(place);
      this.#cursor = cursor;
      this.#passed.clear();
      for (const [topic, place] of passed) this.#passed.set(topic, place);
      throw error;
    }
    this.#mark.advance(look.furthest);
    return recordsOf(look.taken);
  }

  /** Whether nothing of what is left of a pack goes on before something else happens, and so little that it is not worth its room. */
  isStuck({ place, rows }: Pack, gone: Gone): boolean {
    const left = rows - gone.count;
    if (left * 2 > rows || this.#cursor < place + rows - 1) return false;
    for (let row = 0; row < rows; row++) if (!gone.has(row) && this.given.has(place + row)) return false;
    return true;
  }

  /** @param only The rows of this topic, up to where the reading stands; null: all that was not read. */
  #read(look: Look, from: number, only: string | null, found: Findings): void {
    const end = only === null ? Number.MAX_SAFE_INTEGER : this.#cursor;
    for (let at = from; at < end;) {
      const pack = this.#packs.endingBehind(at);
      for (const line of this.#next.iterate(at, Math.min(end, (pack?.place ?? end + 1) - 1))) {
        const [place, slot, storedAt, crc, record] = line as unknown as Line;
        if (
          !this.#visit(look, only, place, slot, storedAt, crc32(record) === crc ? record : null, record.length, found)
        )
          return;
      }
      if (pack === null) return;
      at = pack.place + pack.rows - 1;
      if (!this.#readPack(look, pack, from, end, only, found)) return;
    }
  }

  /** @returns false: the look has enough. */
  #readPack(look: Look, pack: Pack, from: number, end: number, only: string | null, found: Findings): boolean {
    const gone = this.#packs.gone(pack);
    const bytes = this.#packs.read(pack);
    const first = Math.max(0, from + 1 - pack.place);
    const last = Math.min(pack.rows - 1, end - pack.place);
    for (let row = first; row <= last; row++) {
      if (gone.has(row)) continue;
      const place = pack.place + row;
      const record = bytes.record(row);
      const length = record?.length ?? 0;
      if (!this.#visit(look, only, place, bytes.slot(row), pack.storedAt, record, length, found)) return false;
    }
    if (only === null) this.#cursor = pack.place + last;
    if (gone.count > 0 && this.isStuck(pack, gone)) found.stuck.push(pack);
    return true;
  }

  /**
   * @param record Null: its bytes are not what was stored.
   * @returns false: the look has enough
   */
  #visit(
    look: Look,
    only: string | null,
    place: number,
    slot: number | null,
    storedAt: number,
    record: Uint8Array | null,
    length: number,
    found: Findings,
  ): boolean {
    if (look.full(length)) {
      if (only !== null) this.#pass(only, place);
      return false;
    }
    if (only === null) this.#cursor = place;
    if (this.given.has(place) || this.#parked.holds(place, slot)) return true;
    if (record === null) {
      found.damaged.push(place);
      return true;
    }
    const head = this.#headOf(record);
    const { served, topic, destination } = head;
    if (!served || (only !== null && topic !== only)) return true;
    if (look.wants(topic) && !this.#passed.has(topic)) {
      const doubtful = this.#doubtful.has(place) || this.#mark.covers(destination, place);
      look.take({ place, stored_at: storedAt, record, doubtful }, head);
      this.given.set(place, head);
      return true;
    }
    this.#pass(topic, place);
    return only === null;
  }

  #pass(topic: string, place: number): void {
    this.#passed.set(topic, Math.min(place, this.#passed.get(topic) ?? place));
  }

  #headOf(record: Uint8Array): Head {
    const end = AT.texts + ((record[AT.head] ?? 0) | ((record[AT.head + 1] ?? 0) << 8));
    // Rows of one topic lie together, mostly.
    if (this.#last !== null && this.#last.bytes.compare(record, AT.texts, end) === 0) return this.#last.head;
    const bytes = Buffer.from(record.subarray(AT.texts, end));
    const head = this.#parsed(bytes);
    this.#last = { bytes, head };
    return head;
  }

  #parsed(bytes: Buffer): Head {
    const text = bytes.toString("latin1");
    let head = this.#heads.get(text);
    if (head === undefined) {
      const [destination, , topic] = JSON.parse(bytes.toString()) as [string, string, string];
      head = { destination, served: this.#destinations.has(destination), topic };
      // As many as there are topics; should that grow without end, it begins anew.
      if (this.#heads.size > 10_000) this.#heads.clear();
      this.#heads.set(text, head);
    }
    return head;
  }
}

/** What one take gathers, and how much more it may. */
class Look {
  readonly taken: Taken[] = [];
  readonly #most: number;
  readonly #limits: ReadonlyMap<string, number>;
  /** Rows out, of the limited topics. */
  readonly #out: Map<string, number> = new Map();
  /** By destination, the last place that was taken. */
  readonly furthest: Map<string, number> = new Map();
  #bytes = 0;

  constructor(most: number, limits: ReadonlyMap<string, number>, given: ReadonlyMap<number, Head>) {
    this.#most = most;
    this.#limits = limits;
    if (limits.size > 0) for (const { topic } of given.values()) this.#count(topic);
  }

  full(bytes: number): boolean {
    const { length } = this.taken;
    return length >= this.#most || (length > 0 && this.#bytes + bytes > TAKE_BYTES);
  }

  wants(topic: string): boolean {
    const limit = this.#limits.get(topic);
    return limit === undefined || (this.#out.get(topic) ?? 0) < limit;
  }

  take(row: Taken, { topic, destination }: Head): void {
    this.taken.push(row);
    this.#bytes += row.record.length;
    this.#count(topic);
    if (row.place > (this.furthest.get(destination) ?? 0)) this.furthest.set(destination, row.place);
  }

  #count(topic: string): void {
    if (this.#limits.has(topic)) this.#out.set(topic, (this.#out.get(topic) ?? 0) + 1);
  }
}
