import type { DatabaseSync, StatementSync } from "node:sqlite";
import { crc32 } from "node:zlib";
import type { ClaimAsk, FreshClaim, ParkResult } from "@tallymq/core/spi";
import { partsOf, viewOf } from "../../record/layout.ts";
import { recordsOf } from "../records.ts";
import { type Operations, operation } from "../protocol.ts";
import type { Effect } from "./identity.ts";
import type { IsParked, Marks } from "./marks.ts";

interface ParkArgs {
  readonly identity: Effect;
  readonly key: string;
  readonly reason: string;
  readonly record: Uint8Array;
  readonly wall: number;
  readonly head: Pick<FreshClaim, "key" | "fence"> | null;
}

interface KeyArgs {
  readonly group: string;
  readonly topic: string;
}

interface StoredMessage {
  readonly place: number;
  readonly reason: string;
  readonly stored_at: number;
  readonly crc: number;
  readonly record: Uint8Array;
}

const NONE: IsParked = () => false;

/** Messages of parked keys. A key's registration is that it has rows: both go in one transaction. */
export class ParkedMessages {
  readonly operations: Operations;
  readonly #marks: Marks;
  readonly #max: number;
  readonly #any: StatementSync;
  readonly #has: StatementSync;
  readonly #same: StatementSync;
  readonly #span: StatementSync;
  readonly #count: StatementSync;
  readonly #insert: StatementSync;

  constructor(sql: DatabaseSync, marks: Marks, max: number, path: string, surfaced: (what: string) => void) {
    this.#marks = marks;
    this.#max = max;
    this.#any = sql.prepare("SELECT 1 AS one FROM tally_parked LIMIT 1");
    this.#has = sql.prepare("SELECT 1 AS one FROM tally_parked WHERE grp = ? AND topic = ? AND key = ? LIMIT 1");
    this.#same = sql.prepare("SELECT record FROM tally_parked WHERE identity = ?");
    this.#span = sql.prepare("SELECT coalesce(max(place) - min(place) + 1, 0) AS n FROM tally_parked");
    this.#count = sql.prepare("SELECT count(*) AS n FROM tally_parked");
    this.#insert = sql.prepare(
      "INSERT INTO tally_parked (grp, topic, key, identity, reason, parked_at, crc, record) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
    );
    const remove = sql.prepare("DELETE FROM tally_parked WHERE place = ?");
    const keys =
      sql.prepare(`SELECT p.grp AS "group", p.topic AS topic, p.key AS key, h.n AS messages, p.reason AS reason, p.parked_at AS parkedAt
      FROM (SELECT min(place) AS first, count(*) AS n FROM tally_parked WHERE grp = coalesce(?, grp) AND topic = coalesce(?, topic)
      GROUP BY grp, topic, key) h JOIN tally_parked p ON p.place = h.first ORDER BY h.first LIMIT ?`);
    const messages = sql.prepare(
      "SELECT place, reason, parked_at AS stored_at, crc, record FROM tally_parked WHERE grp = ? AND topic = ? AND key = ? ORDER BY place LIMIT ?",
    );
    this.operations = {
      parkedKeys: operation("read", ({ group, topic, keys: asked }: KeyArgs & { keys: readonly string[] }) => ({
        value: asked.filter((key) => this.#isParked(group, topic, key)),
      })),
      "inbox.park": operation("write", (args: ParkArgs) => ({ value: this.#park(args) })),
      "inbox.parked": operation(
        "read",
        ({ group, topic, most }: { group: string | null; topic: string | null; most: number }) => ({
          value: keys.all(group, topic, most).map((row) => ({ ...row })),
        }),
      ),
      parkedMessages: operation("read", ({ group, topic, key, most }: KeyArgs & { key: string; most: number }) => {
        const rows = messages.all(group, topic, key, most) as unknown as StoredMessage[];
        const whole = rows.filter((row) => crc32(row.record) === row.crc);
        for (const row of rows)
          if (!whole.includes(row))
            surfaced(`parked message ${row.place} of ${path} is damaged: it stays in tally_parked and is not run`);
        const records = recordsOf(whole);
        return { ...records, value: { records: records.value, reasons: whole.map((row) => row.reason) } };
      }),
      unpark: operation("write", ({ place }: { place: number }) => ({ value: remove.run(place).changes === 1 })),
    };
  }

  /** Inside a transaction: what claims of it may ask. Without a parked message none of them pays for a look. */
  look(asks: readonly ClaimAsk[]): IsParked {
    if (asks.every(({ behind }) => behind === null) || this.#any.get() === undefined) return NONE;
    return (group, topic, key) => this.#isParked(group, topic, key);
  }

  #isParked(group: string, topic: string, key: string): boolean {
    return this.#has.get(group, topic, key) !== undefined;
  }

  #park({ identity: of, key, reason, record, wall, head }: ParkArgs): ParkResult {
    if (head !== null && !this.#marks.holds(head.key, head.fence)) return "fenced";
    const identity = this.#marks.identityOf(of);
    const same = this.#same.get(identity)?.["record"] as Uint8Array | undefined;
    if (same !== undefined && !sameBody(same, record)) return "conflict";
    if (same === undefined) {
      if (head === null && !this.#isParked(of.group, of.topic, key)) return "free";
      if (this.#isFull()) return "full";
      this.#insert.run(of.group, of.topic, key, identity, reason, wall, crc32(record), record);
    }
    if (head !== null) this.#marks.end(head.key, head.fence, { is: "failed" });
    return "parked";
  }

  /** Counts only when the places say that there may be as many: counting walks through all. */
  #isFull(): boolean {
    const most = (statement: StatementSync): boolean => Number(statement.get()?.["n"]) >= this.#max;
    return most(this.#span) && most(this.#count);
  }
}

function sameBody(one: Uint8Array, other: Uint8Array): boolean {
  const body = (record: Uint8Array): Uint8Array => record.subarray(partsOf(viewOf(record)).body);
  return Buffer.compare(body(one), body(other)) === 0;
}
