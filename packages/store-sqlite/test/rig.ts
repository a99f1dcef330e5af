import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type SqliteOptions, sqlite, type SqliteTx } from "@tallymq/store-sqlite";
import type { EffectRig, StoreRig } from "@tallymq/testkit/conformance";
import { afterAll } from "vitest";
import { withFile } from "./rig-file.ts";

export { withFile };

/** A directory of the test file's own. */
export function scratch(): string {
  const directory = mkdtempSync(join(tmpdir(), "tally-sqlite-"));
  afterAll(() => rmSync(directory, { recursive: true, force: true }));
  return directory;
}

export function sqliteRig(options: SqliteOptions = {}): StoreRig {
  const directory = scratch();
  let places = 0;
  return {
    name: "sqlite",
    limitMs: 10_000,
    place: () => join(directory, `${++places}.db`),
    outbox: (place, host) => sqlite(place, options).openOutbox(host),
    bound: (place, host) => sqlite(place, { ...options, maxBytes: 2 * 1024 * 1024 }).openOutbox(host),
    halves: true,
    inbox: (place, host) => sqlite(place, options).openInbox(host),
    transactions: {
      prepare: async (place) => withFile(place, (sql) => sql.exec("CREATE TABLE IF NOT EXISTS effects (line TEXT)")),
      write: (tx, line) => tx.run("INSERT INTO effects VALUES (?)", [line]),
      lines: async (place) =>
        withFile(place, (sql) =>
          sql
            .prepare("SELECT line FROM effects ORDER BY line")
            .all()
            .map((row) => String(row["line"])),
        ),
    } satisfies EffectRig<SqliteTx> as EffectRig<never>,
  };
}
