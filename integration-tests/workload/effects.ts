import { DatabaseSync } from "node:sqlite";
import type { EffectRow } from "@tallymq/testkit/ledger";
import { hashOf, type Order } from "./order.ts";

/**
 * Where consumers write what they did: one SQLite file that all of them share. It is their inbox as well, so that an
 * effect and the mark that it was there commit together.
 *
 * `bills` is append-only: a row for each time that an order was billed, with no uniqueness on the order. Whoever bills
 * twice leaves two rows, and the checker counts rows. (With the order's id as the primary key of this table, the database
 * would swallow the second one, and a broken inbox would look right.) What makes an effect happen once is the inbox alone.
 *
 * `bills.n` rises with the commits and is never used again: the commit number that the ledger asks for.
 *
 * A connection of its own writes with `synchronous = normal`: with a write-ahead log a killed process loses nothing that
 * was committed. A power cut could, which is not among these faults; and the inbox itself syncs each commit.
 */
const SCHEMA = `
  pragma journal_mode = wal;
  create table bills (
    n integer primary key autoincrement,
    id text not null,
    customer text not null,
    cents integer not null,
    body text not null,
    process text not null
  );
  create index bills_id on bills (id);
`;

const BUSY_MS = 20_000;

/** The effect: a statement and its values, for whichever transaction it is to be part of. */
export function bill(order: Order, process: string): readonly [sql: string, values: readonly (string | number)[]] {
  return [
    "insert into bills (id, customer, cents, body, process) values (?, ?, ?, ?, ?)",
    [order.id, order.customer, order.cents, hashOf(order), process],
  ];
}

/** @param once A second bill of an id changes nothing: for handlers that make themselves idempotent. */
export function createEffects(path: string, once = false): Effects {
  const database = open(path);
  database.exec(once ? SCHEMA.replace("create index", "create unique index") : SCHEMA);
  return new Effects(database);
}

export function openEffects(path: string): Effects {
  return new Effects(open(path));
}

export class Effects implements Disposable {
  readonly #database: DatabaseSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
  }

  /** In a transaction of its own, which nothing else is part of. */
  bill(order: Order, process: string): void {
    const [sql, values] = bill(order, process);
    this.#database.prepare(sql).run(...values);
  }

  /** As {@link bill}, by a handler that is idempotent by itself. */
  billOnce(order: Order, process: string): void {
    const [sql, values] = bill(order, process);
    this.#database.prepare(`${sql} on conflict do nothing`).run(...values);
  }

  /** How many orders have been billed: for progress, and to see when all is done. */
  billed(): number {
    return Number(this.#database.prepare("select count(distinct id) as n from bills").get()?.["n"]);
  }

  /** How many bills there are: as many, unless an order was billed twice. No row is counted for it. */
  bills(): number {
    return Number(this.#database.prepare("select max(n) as n from bills").get()?.["n"] ?? 0);
  }

  /** Each bill, a row of its own, in the order of the commits. */
  *rows(): Generator<EffectRow> {
    for (const row of this.#database.prepare("select n, id, body from bills order by n").iterate()) {
      yield { id: String(row["id"]), n: 1, commit: Number(row["n"]), bodyHash: String(row["body"]) };
    }
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }
}

function open(path: string): DatabaseSync {
  const database = new DatabaseSync(path, { timeout: BUSY_MS });
  database.exec("pragma synchronous = normal");
  return database;
}
