import type { StatementSync } from "node:sqlite";
import type { Database } from "../file/database.ts";
import type { Packs } from "./packs.ts";

/** The greatest ids of a file, while one job stores rows: ids mostly rise, and what lies beyond them need not be looked for. */
export class KnownIds {
  readonly #packs: Packs;
  readonly #last: StatementSync;
  /** Of all packs; null: there are none. */
  #top: Uint8Array | null = null;
  /** Of all rows, packed or loose; null: there are none. Undefined: to be looked up. */
  #greatest: Uint8Array | null | undefined;

  constructor({ sql }: Database, packs: Packs) {
    this.#packs = packs;
    this.#last = sql.prepare("SELECT id FROM tally_rows ORDER BY id DESC LIMIT 1");
  }

  /** A job begins: others may have stored rows since the last one, or what that did was undone. */
  begin(): void {
    this.#top = this.#packs.top();
    this.#greatest = undefined;
  }

  mayBePacked(id: Uint8Array): boolean {
    return this.#top !== null && Buffer.compare(id, this.#top) <= 0;
  }

  /** Whether this id is greater than any. */
  isBeyond(id: Uint8Array): boolean {
    if (this.#greatest === undefined) {
      const loose = (this.#last.get() as { id: Uint8Array } | undefined)?.id ?? null;
      this.#greatest = loose === null || this.mayBePacked(loose) ? this.#top : loose;
    }
    return this.#greatest === null || Buffer.compare(id, this.#greatest) > 0;
  }

  /** A pack was stored. @param last Its greatest id. */
  packed(last: Uint8Array): void {
    if (!this.mayBePacked(last)) this.#top = last;
    if (this.isBeyond(last)) this.#greatest = last;
  }

  /** A loose row was stored, or some. */
  loose(): void {
    this.#greatest = undefined;
  }
}
