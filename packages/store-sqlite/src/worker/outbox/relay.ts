import type { StatementSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import { AT, FLAG } from "../../record/layout.ts";
import type { Database } from "../file/database.ts";
import { Fault } from "../fault.ts";
import { type Answer, RECORD_WIDTH, type Records } from "../protocol.ts";
import { GivenMark } from "./given.ts";
import type { RelayLock } from "./lock.ts";
import type { Parked } from "./parked.ts";

/** A look hands out no more than this at once, but one row at least. */
const TAKE_BYTES = 4 * 1024 * 1024;

/** A row as its statement gives it: an object with names took a third longer. */
type Line = readonly [place: number, slot: number | null, storedAt: number, crc: number, record: Uint8Array];

interface Taken {
  readonly place: number;
  readonly stored_at: number;
  readonly record: Uint8Array;
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
  readonly #path: string;
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
    parked: Parked,
    destinations: readonly string[],
    surfaced: (what: string) => void,
  ) {
    this.lock = lock;
    this.#path = db.path;
    this.#parked = parked;
    this.#destinations = new Set(destinations);
    this.#mark = new GivenMark(db, destinations, surfaced);
    this.#next = db.sql.prepare(
      "SELECT place, slot, stored_at, crc, record FROM tally_rows WHERE place > ? ORDER BY place",
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

  /**
   * @param limits Rows of these topics given and not ended, at most.
   * @param damaged Gets the rows whose bytes are not what was stored.
   */
  take(most: number, limits: ReadonlyMap<string, number>, damaged: (place: number) => void): Answer {
    if (!this.lock.holds()) throw new Fault("fenced", `the relay's lock on ${this.#path} was deleted or replaced`);
    if (this.#parked.refresh()) this.#cursor = 0;
    const look = new Look(most, limits, this.given);
    // What was passed over comes first: it lies before what has not been read, and a topic's rows go in their order.
    for (const [topic, place] of [...this.#passed]) {
      if (!look.wants(topic)) continue;
      this.#passed.delete(topic);
      this.#read(look, place - 1, topic, damaged);
    }
    this.#read(look, this.#cursor, null, damaged);
    this.#mark.advance(look.furthest);
    return packRecords(look.taken);
  }

  /** @param only The rows of this topic, up to where the reading stands; null: all that was not read. */
  #read(look: Look, from: number, only: string | null, damaged: (place: number) => void): void {
    const end = only === null ? Number.POSITIVE_INFINITY : this.#cursor;
    for (const line of this.#next.iterate(from)) {
      const [place, slot, storedAt, crc, record] = line as unknown as Line;
      if (place > end) return;
      if (look.full(record)) {
        if (only !== null) this.#pass(only, place);
        return;
      }
      if (only === null) this.#cursor = place;
      if (this.given.has(place) || this.#parked.holds(place, slot)) continue;
      if (crc32(record) !== crc) {
        damaged(place);
        continue;
      }
      const head = this.#headOf(record);
      const { served, topic, destination } = head;
      if (!served || (only !== null && topic !== only)) continue;
      if (look.wants(topic) && !this.#passed.has(topic)) {
        if (this.#doubtful.has(place) || this.#mark.covers(destination, place))
          record[AT.flags] = (record[AT.flags] ?? 0) | FLAG.doubtful;
        look.take({ place, stored_at: storedAt, record }, head);
        this.given.set(place, head);
      } else {
        this.#pass(topic, place);
        if (only !== null) return;
      }
    }
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

  full(record: Uint8Array): boolean {
    const { length } = this.taken;
    return length >= this.#most || (length > 0 && this.#bytes + record.length > TAKE_BYTES);
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

export function packRecords(
  rows: readonly { readonly place: number; readonly stored_at: number; readonly record: Uint8Array }[],
): Answer {
  const bytes = new ArrayBuffer(rows.reduce((sum, row) => sum + row.record.length, 0));
  const target = new Uint8Array(bytes);
  // Numbers of their own type: an array of numbers is written one by one for the other thread, and read so.
  const numbers = new Float64Array(rows.length * RECORD_WIDTH);
  let end = 0;
  let at = 0;
  for (const { place, stored_at, record } of rows) {
    target.set(record, end);
    end += record.length;
    numbers[at++] = place;
    numbers[at++] = stored_at;
    numbers[at++] = end;
  }
  const records: Records = { numbers, bytes };
  return { value: records, transfer: [bytes] };
}
