import type { DatabaseSync, StatementSync } from "node:sqlite";
import { Fault, messageOf } from "../fault.ts";

/** Prepared statements of handlers that are kept. */
const KEPT = 200;
/** What would end or leave the transaction that an effect shares with its mark. */
const FORBIDDEN: ReadonlySet<string> = new Set([
  "BEGIN",
  "COMMIT",
  "END",
  "ROLLBACK",
  "SAVEPOINT",
  "RELEASE",
  "ATTACH",
  "DETACH",
  "PRAGMA",
  "VACUUM",
]);
/** White space and comments, in front of a statement or behind it. */
const BLANK = /^(?:\s|--[^\n]*(?:\n|$)|\/\*[\s\S]*?(?:\*\/|$)|;)*/;

/** The user's statements, prepared once each. */
export class Statements {
  readonly #sql: DatabaseSync;
  readonly #kept: Map<string, StatementSync> = new Map();

  constructor(sql: DatabaseSync) {
    this.#sql = sql;
  }

  /** @throws Fault `bad-config` for what may not run inside a transaction that is not its own. */
  of(text: string): StatementSync {
    const kept = this.#kept.get(text);
    if (kept !== undefined) return kept;
    const word = /^[a-z]+/i.exec(text.replace(BLANK, ""))?.[0].toUpperCase() ?? "";
    if (FORBIDDEN.has(word))
      throw new Fault(
        "bad-config",
        `${word} cannot be used in a handler's tx: its transaction is shared with the mark, and with other handlers`,
      );
    const statement = this.#sql.prepare(text);
    // SQLite prepares the first statement and ignores the rest: what is not run must not look as if it were.
    const rest = text.replace(BLANK, "").slice(statement.sourceSQL.replace(BLANK, "").length);
    if (rest.replace(BLANK, "") !== "") throw new Fault("bad-config", "a handler's tx takes one statement at a time");
    if (this.#kept.size >= KEPT) this.#kept.delete(this.#kept.keys().next().value ?? "");
    this.#kept.set(text, statement);
    return statement;
  }
}

/** An error of the user's own statement: shown as SQLite says it, with no values in it. */
export function asStatementFault(error: unknown): Fault {
  return error instanceof Fault ? error : new Fault("handler", messageOf(error), { cause: error });
}
