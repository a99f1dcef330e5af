import { DatabaseSync, type StatementSync } from "node:sqlite";
import type { EffectRow } from "@tallymq/testkit/ledger";
import { hashOf, type Order } from "./order.ts";

/**
 * Where consumers write what they did: one SQLite file that all of them share.
 *
 * The effect and what makes it idempotent are kept apart on purpose:
 *
 * - `bills` is the effect, and append-only: a row for each time that an order was billed, with no uniqueness on the
 *   order. Whoever bills twice leaves two rows, and the checker counts rows. (With the order's id as the primary key of
 *   this table, the database would swallow the second one, and a broken handler would look right.)
 * - `handled` is how the handler knows that it has been here: a mark for each id, written in the transaction of the
 *   bill. A second delivery finds the mark and bills nothing, whether the first was by this process, by one that is
 *   dead since, or by one that runs at this moment (the transaction begins with the write lock).
 *
 * `bills.n` rises with the commits and is never used again: the commit number that the ledger asks for.
 *
 * `synchronous = normal` with a write-ahead log: a killed process loses nothing that was committed. A power cut could,
 * which is not among this demo's faults.
 */
const SCHEMA = `
  pragma journal_mode = wal;
  create table handled (id text primary key) without rowid;
  create table bills (
    n integer primary key autoincrement,
    id text not null,
    customer text not null,
    cents integer not null,
    body text not null,
    process text not null
  );
`;

const BUSY_MS = 20_000;

export function createEffects(path: string): Effects {
  const database = open(path);
  database.exec(SCHEMA);
  return new Effects(database);
}

export function openEffects(path: string): Effects {
  return new Effects(open(path));
}

export class Effects implements Disposable {
  readonly #database: DatabaseSync;
  readonly #mark: StatementSync;
  readonly #bill: StatementSync;
  readonly #handled: StatementSync;

  constructor(database: DatabaseSync) {
    this.#database = database;
    this.#mark = database.prepare("insert into handled (id) values (?) on conflict do nothing");
    this.#bill = database.prepare("insert into bills (id, customer, cents, body, process) values (?, ?, ?, ?, ?)");
    this.#handled = database.prepare("select count(*) as n from handled");
  }

  /** Bills the order, once for its id. False: it was billed already. Durable against kill -9 when it returns. */
  bill(order: Order, process: string): boolean {
    this.#database.exec("begin immediate");
    try {
      const fresh = this.#mark.run(order.id).changes === 1;
      if (fresh) this.billAgain(order, process);
      this.#database.exec("commit");
      return fresh;
    } catch (error) {
      this.#database.exec("rollback");
      throw error;
    }
  }

  /** The effect without its mark. */
  billAgain(order: Order, process: string): void {
    this.#bill.run(order.id, order.customer, order.cents, hashOf(order), process);
  }

  /** How many ids have been handled: for progress, and to see when all is done. */
  handled(): number {
    return Number(this.#handled.get()?.["n"]);
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
