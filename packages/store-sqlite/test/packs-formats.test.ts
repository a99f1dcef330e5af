// Packs, and stores of formats that knew none or other ones.
import { join } from "node:path";
import type { DatabaseSync } from "node:sqlite";
import { expect, it, vi } from "vitest";
import { STORE_FORMAT } from "../src/worker/file/stamp.ts";
import { idsIn, openOutbox, row } from "./open.ts";
import { asFormat } from "./rig-file.ts";
import { count, filled, ids } from "./rig-packs.ts";
import { scratch, withFile } from "./rig.ts";

// A store opens a thread, and the machine may be busy.
vi.setConfig({ testTimeout: 60_000 });
const directory = scratch();
const at = (name: string): string => join(directory, name);

function format(path: string): unknown {
  return withFile(path, (sql) => sql.prepare("SELECT format FROM tally_store").get()?.["format"]);
}

it("a store of format 4, which knew no packs: its rows go first, and it is upgraded when nobody else has it open", async () => {
  const path = at("format-4.db");
  await filled(path, ids(60).toReversed());
  asFormat(path, 4);
  await filled(path, ids(30, 100));
  expect([format(path), count(path, "tally_packs")]).toEqual([STORE_FORMAT, 1]);
  expect(await idsIn(path)).toEqual([...ids(60).toReversed(), ...ids(30, 100)]);
});

it("a store of format 5: its packs, whose rows stand for themselves each, are relayed, and it is upgraded", async () => {
  const path = at("format-5.db");
  {
    await using outbox = await openOutbox(path);
    await outbox.put(ids(60).map((id) => ({ ...row(id), lane: 1 })));
  }
  withFile(path, (sql) => {
    const lists = sql.prepare("SELECT rows, list FROM tally_packs").all() as { rows: number; list: Uint8Array }[];
    expect(lists.map(({ rows, list }) => list.length - 12 * rows)).toEqual(lists.map(() => 0));
    expect(lists.reduce((sum, { rows }) => sum + rows, 0)).toBe(60);
  });
  asFormat(path, 5);
  await filled(path, ids(30, 100));
  expect(format(path)).toBe(STORE_FORMAT);
  expect(await idsIn(path)).toEqual([...ids(60), ...ids(30, 100)]);
});

it.each([4, 5])(
  "while somebody has a store of format %i open it stays one, and nothing is put that he would not see",
  async (then) => {
    const path = at(`shared-${then}.db`);
    await filled(path, ids(30).toReversed());
    const older = (sql: DatabaseSync): void => sql.exec(`UPDATE tally_store SET format = ${then}`);
    withFile(path, older);
    {
      await using _first = await openOutbox(path);
      // As if it were of a version that knows no more.
      withFile(path, older);
      await filled(path, ids(30, 100));
      expect([format(path), count(path, "tally_packs"), count(path, "tally_rows")]).toEqual([then, 0, 60]);
    }
    await filled(path, ids(30, 200));
    expect([format(path), count(path, "tally_packs")]).toEqual([STORE_FORMAT, 1]);
    expect((await idsIn(path)).length).toBe(90);
  },
);
