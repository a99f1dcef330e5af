import { DatabaseSync } from "node:sqlite";
import { Fault, messageOf, SQLITE, sqliteCode } from "../fault.ts";
import { checkStamp, foreignTables, readStamp } from "./stamp.ts";

/**
 * - `whole`: ours, and nothing wrong was found.
 * - `unstamped`: a database without a store of ours: fresh, or the user's own.
 * - `damaged`: ours, as far as can be told, and not to be written to.
 */
export type Judgement =
  | { readonly is: "whole"; readonly format: number }
  | { readonly is: "unstamped"; readonly foreign: boolean }
  | { readonly is: "damaged"; readonly reason: string; readonly foreign: boolean };

/**
 * Looks at a file that nobody has open.
 * @param initialised It has been a store of ours.
 * @throws Fault `store` for what is to be left as it is: another file, another kind, a newer format.
 */
export function judge(path: string, kind: "outbox" | "inbox", initialised: boolean): Judgement {
  let sql: DatabaseSync | null = null;
  let foreign = false;
  try {
    sql = new DatabaseSync(path, { timeout: 0 });
    const stamp = readStamp(sql);
    foreign = foreignTables(sql).length > 0;
    if (stamp === null) {
      // A store is never without a stamp, as far as commits go: this one lost it, or never was one.
      if (initialised && !foreign) return { is: "damaged", reason: "its tables are gone", foreign };
      if (foreign && kind === "outbox")
        throw new Fault("store", `${path} is a database of something else; an outbox has a file of its own`);
      return { is: "unstamped", foreign };
    }
    checkStamp(path, stamp, kind);
    const reason = check(sql, foreign);
    return reason === null ? { is: "whole", format: stamp.format } : { is: "damaged", reason, foreign };
  } catch (error) {
    const code = sqliteCode(error);
    if (code !== SQLITE.notadb && code !== SQLITE.corrupt && code !== SQLITE.error) throw error;
    // Never touch what may be somebody's: only a file that was ours is moved aside.
    if (!initialised) throw new Fault("store", `${path} is not a store: ${messageOf(error)}`, { cause: error });
    return { is: "damaged", reason: messageOf(error), foreign };
  } finally {
    sql?.close();
  }
}

/** What is wrong, or null. In a file with tables of the user's only ours are read: his may be large. */
function check(sql: DatabaseSync, foreign: boolean): string | null {
  const tables = foreign
    ? sql.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' AND name LIKE 'tally~_%' ESCAPE '~'").all()
    : [null];
  for (const table of tables) {
    const pragma = table === null ? "quick_check(1)" : `quick_check('${String(table["name"])}')`;
    const found = String(Object.values(sql.prepare(`PRAGMA ${pragma}`).get() ?? {})[0]);
    if (found !== "ok") return found.replaceAll("\n", " ");
  }
  return null;
}
