import { expect } from "vitest";
import { openOutbox, row } from "./open.ts";
import { withFile } from "./rig-file.ts";

/** Ids that rise. */
export const ids = (count: number, from = 0): readonly string[] =>
  Array.from({ length: count }, (_, n) => `id-${String(from + n).padStart(6, "0")}`);

export function count(
  path: string,
  table: "tally_packs" | "tally_rows" | "tally_packs_gone" | "tally_damaged_rows",
): number {
  return withFile(path, (sql) => Number(sql.prepare(`SELECT count(*) AS n FROM ${table}`).get()?.["n"]));
}

/** Opens, puts a row for each id, closes. */
export async function filled(
  path: string,
  all: readonly string[],
  slot: (n: number) => number | null = () => null,
): Promise<void> {
  await using outbox = await openOutbox(path);
  const results = await outbox.put(all.map((id, n) => ({ ...row(id), slot: slot(n) })));
  expect(new Set(results)).toEqual(new Set(["stored"]));
}
