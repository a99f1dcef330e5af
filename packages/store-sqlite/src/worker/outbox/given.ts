import type { StatementSync } from "node:sqlite";
import type { Database } from "../file/database.ts";
import { messageOf } from "../fault.ts";

/**
 * How far the rows of each destination have been given to a relay, on the disk before they leave: a row that is there and
 * lies no further may have been sent by a process that was killed before it could end it. It is given again as a doubtful one,
 * and like those it is not sent once the inbox may have forgotten it.
 *
 * Not fsynced by itself: what a crash of the machine undoes here counts again at the next look, minutes later, and matters
 * after days. One number instead of a set: rows of a limited topic that were passed over on the way count as given too, until
 * a lease ends in order.
 */
export class GivenMark {
  readonly #db: Database;
  readonly #surfaced: (what: string) => void;
  readonly #set: StatementSync;
  readonly #first: StatementSync;
  readonly #before: ReadonlyMap<string, number>;
  readonly #marked: Map<string, number>;
  #failing = false;

  constructor(db: Database, destinations: readonly string[], surfaced: (what: string) => void) {
    this.#db = db;
    this.#surfaced = surfaced;
    this.#set = db.sql.prepare(
      "INSERT INTO tally_given (destination, up_to) VALUES (?, ?) ON CONFLICT (destination) DO UPDATE SET up_to = excluded.up_to",
    );
    this.#first = db.sql.prepare(
      "SELECT place FROM tally_rows WHERE place <= ?1 UNION ALL SELECT place FROM tally_packs WHERE place <= ?1 LIMIT 1",
    );
    const read = db.sql.prepare("SELECT up_to FROM tally_given WHERE destination = ?");
    this.#before = new Map(
      destinations.map((destination) => [destination, Number(read.get(destination)?.["up_to"] ?? 0)]),
    );
    this.#marked = new Map(this.#before);
  }

  /** Whether a lease before this one was given the row. */
  covers(destination: string, place: number): boolean {
    return place <= (this.#before.get(destination) ?? 0);
  }

  /** @param furthest The last place of each destination that is given out now. */
  advance(furthest: ReadonlyMap<string, number>): void {
    const further = [...furthest].filter(([destination, place]) => place > (this.#marked.get(destination) ?? 0));
    if (further.length > 0) this.#write(further);
  }

  /** The lease ends in order: only what it still has out may have been sent, and what was in doubt before and is still there. */
  leave(out: readonly (readonly [place: number, head: { readonly destination: string }])[]): void {
    const left = new Map(
      [...this.#before].map(([destination, before]) => [
        destination,
        this.#first.get(before) === undefined ? 0 : before,
      ]),
    );
    for (const [place, { destination }] of out) left.set(destination, Math.max(left.get(destination) ?? 0, place));
    const changed = [...left].filter(([destination, place]) => place !== this.#marked.get(destination));
    if (changed.length > 0) this.#write(changed);
  }

  #write(marks: readonly (readonly [destination: string, place: number])[]): void {
    try {
      this.#db.begin("relay");
      for (const [destination, place] of marks) this.#set.run(destination, place);
      this.#db.commit();
      for (const [destination, place] of marks) this.#marked.set(destination, place);
      this.#failing = false;
    } catch (error) {
      this.#db.rollback();
      // A full disk is emptied by relaying, and what a deleted file still holds should leave: rather without the mark than not at all.
      if (!this.#failing)
        this.#surfaced(`${this.#db.path} cannot note which rows are on their way: ${messageOf(error)}`);
      this.#failing = true;
    }
  }
}
