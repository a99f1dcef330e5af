import type { StatementSync } from "node:sqlite";
import type { Database } from "../file/database.ts";

/** What is parked, in memory as well: the relay asks for each row. Bounded by what a person has not looked at yet. */
export class Parked {
  readonly #places: Map<number, number | null> = new Map();
  /** The first parked place of a slot. */
  readonly #slots: Map<number, number> = new Map();
  readonly #load: StatementSync;
  readonly #version: StatementSync;
  #seen = -1;

  constructor(db: Database) {
    this.#load = db.sql.prepare(
      "SELECT p.place AS place, r.slot AS slot FROM tally_parked_rows p JOIN tally_rows r USING (place)",
    );
    this.#version = db.sql.prepare("PRAGMA data_version");
  }

  /**
   * Reads again if another process wrote since.
   * @returns true if anything is not parked any more: rows that were passed over may go now.
   */
  refresh(): boolean {
    const version = Number(this.#version.get()?.["data_version"]);
    if (version === this.#seen) return false;
    this.#seen = version;
    return this.reload();
  }

  reload(): boolean {
    const before = [...this.#places.keys()];
    this.#places.clear();
    this.#slots.clear();
    for (const { place, slot } of this.#load.all() as { place: number; slot: number | null }[]) {
      this.#places.set(place, slot);
      if (slot !== null) this.#slots.set(slot, Math.min(place, this.#slots.get(slot) ?? place));
    }
    return before.some((place) => !this.#places.has(place));
  }

  get count(): number {
    return this.#places.size;
  }

  /** Parked, or behind what is. */
  holds(place: number, slot: number | null): boolean {
    return this.#places.has(place) || (slot !== null && (this.#slots.get(slot) ?? Infinity) < place);
  }
}
