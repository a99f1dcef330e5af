import { DatabaseSync } from "node:sqlite";

export type Outcome = "commit" | "rollback";

const BUSY_MS = 20_000;

/**
 * What was done, as the database of a shop would know it: a line for each transaction, and the first one stays. Who asks about one
 * that has none writes that it will not be done any more: so `rollback` is an answer that holds.
 */
export class Works implements Disposable {
  readonly #database: DatabaseSync;

  constructor(path: string) {
    this.#database = new DatabaseSync(path, { timeout: BUSY_MS });
    this.#database.exec(`
      pragma journal_mode = wal;
      pragma synchronous = normal;
      create table if not exists works (id text primary key, outcome text not null);
    `);
  }

  /** Does the work of `id` unless something stands there already. @returns what stands there */
  do(id: string, outcome: Outcome): Outcome {
    this.#database.prepare("insert into works values (?, ?) on conflict do nothing").run(id, outcome);
    return this.#database.prepare("select outcome from works where id = ?").get(id)?.["outcome"] as Outcome;
  }

  all(): ReadonlyMap<string, Outcome> {
    const rows = this.#database.prepare("select id, outcome from works").all();
    return new Map(rows.map((row) => [String(row["id"]), row["outcome"] as Outcome]));
  }

  [Symbol.dispose](): void {
    this.#database.close();
  }
}
