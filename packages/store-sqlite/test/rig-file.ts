import { DatabaseSync } from "node:sqlite";

/** The user's own connection. */
export function withFile<T>(path: string, work: (sql: DatabaseSync) => T): T {
  const sql = new DatabaseSync(path, { timeout: 5_000 });
  try {
    return work(sql);
  } finally {
    sql.close();
  }
}
