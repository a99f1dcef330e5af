// Rows that lie together in a pack: what is in the file, and what becomes of it when it is damaged, or nearly empty.
import { join } from "node:path";
import { TallyError, type OutboxLease, type Row } from "@tallymq/core/spi";
import { expect, it, vi } from "vitest";
import { idsIn, openOutbox, recordingHost, row } from "./open.ts";
import { spoil } from "./rig-file.ts";
import { count, filled, ids } from "./rig-packs.ts";
import { scratch, withFile } from "./rig.ts";

// A store opens a thread, and the machine may be busy.
vi.setConfig({ testTimeout: 60_000 });
const directory = scratch();
const at = (name: string): string => join(directory, name);
const proof = { routed: "yes", persisted: "yes", replicated: "yes" } as const;
/** How many of these rows share a page. */
const PAGE = 51;

const end = (lease: OutboxLease, rows: readonly Row[]): Promise<void> =>
  lease.end(rows.map(({ place }) => ({ place, proof })));

it("rows that were put together and whose ids rise are one row of the file; others are not, nor those of overlapping packs", async () => {
  const path = at("packed.db");
  await filled(path, ids(100));
  // A page each.
  expect([count(path, "tally_packs"), count(path, "tally_rows")]).toEqual([2, 0]);
  await filled(path, ids(100, 200));
  await filled(path, ids(100, 100));
  expect([count(path, "tally_packs"), count(path, "tally_rows")]).toEqual([6, 0]);
  await filled(path, ids(100, 300).toReversed());
  await filled(path, ids(10, 400));
  // Between those of the first pack, and those of a loose row among them.
  await filled(
    path,
    ids(50, 10).map((id) => `${id}a`),
  );
  await filled(
    path,
    ids(50, 380).map((id) => `${id}a`),
  );
  expect([count(path, "tally_packs"), count(path, "tally_rows")]).toEqual([6, 210]);
  expect((await idsIn(path)).length).toBe(510);
});

it("a few rows that are more than the pages hold are not left to themselves", async () => {
  const path = at("few.db");
  await filled(path, ids(104));
  expect(withFile(path, (sql) => sql.prepare("SELECT rows FROM tally_packs").all())).toEqual(
    [PAGE, 104 - PAGE - 16, 16].map((rows) => ({ rows })),
  );
  expect(count(path, "tally_rows")).toBe(0);
});

it("a pack fits a page with all that its rows have in common", async () => {
  const path = at("common.db");
  await using outbox = await openOutbox(path);
  await outbox.put(
    ids(200).map((id, n) => ({ ...row(id), message: { ...row(id).message, topic: `${n % 8}`.repeat(100) } })),
  );
  const packs = withFile(path, (sql) =>
    sql.prepare("SELECT length(first) + length(last) + length(list) + length(records) AS bytes FROM tally_packs").all(),
  );
  expect(packs.length).toBeGreaterThan(3);
  for (const { bytes } of packs) expect(bytes).toBeLessThan(16_384 - 100);
});

it("an identity that a row by itself has is not put into a pack, also where both come in one call", async () => {
  const path = at("mixed.db");
  await using outbox = await openOutbox(path);
  // A page of rows that rise, one of rows that do not, and one of rows that rise around one of these.
  const first = ids(PAGE);
  const loose = ids(PAGE, 100).toReversed();
  const last = ids(PAGE, 80);
  const results = await outbox.put([...first, ...loose, ...last].map((id) => row(id)));
  expect(new Set(results.slice(0, 2 * PAGE))).toEqual(new Set(["stored"]));
  expect(results.slice(2 * PAGE)).toEqual(last.map((id) => (loose.includes(id) ? "same" : "stored")));
  expect((await outbox.stats()).rows).toBe(2 * PAGE + 20);
  expect(withFile(path, (sql) => sql.prepare("SELECT rows FROM tally_packs").all())).toEqual([{ rows: PAGE }]);
});

it("what has been relayed of a pack is gone with its last row, and what is stuck keeps no more room than it needs", async () => {
  const path = at("stuck.db");
  await filled(path, ids(30), (n) => (n === 0 ? 7 : null));
  await using outbox = await openOutbox(path);
  await using lease = await outbox.lease(["broker"], () => {}, AbortSignal.timeout(30_000));
  const rows = await lease.take(20);
  await end(lease, rows.slice(10));
  expect([count(path, "tally_packs"), count(path, "tally_packs_gone")]).toEqual([1, 1]);
  await end(lease, rows.slice(1, 10));
  expect(count(path, "tally_packs")).toBe(1);
  await end(lease, await lease.take(1_000));
  // One of a key is still out: nothing moves.
  expect([count(path, "tally_packs"), count(path, "tally_rows")]).toEqual([1, 0]);
  await lease.giveBack([rows[0]!]);
  lease.limit(new Map([["orders", 0]]));
  expect(await lease.take(10)).toEqual([]);
  expect([count(path, "tally_packs"), count(path, "tally_rows"), count(path, "tally_packs_gone")]).toEqual([0, 1, 0]);
  lease.limit(new Map());
  const last = await lease.take(10);
  expect(last.map(({ message }) => message.id)).toEqual(ids(1));
  await end(lease, last);
  expect(await outbox.stats()).toEqual({ rows: 0, parked: 0, oldestAt: null });
});

it("what waits behind a parked row is taken out of the packs that are else relayed", async () => {
  const path = at("behind.db");
  await filled(path, ids(30), (n) => (n % 20 === 0 ? 7 : null));
  await filled(path, ids(30, 100), (n) => (n % 20 === 0 ? 7 : null));
  await using outbox = await openOutbox(path);
  await using lease = await outbox.lease(["broker"], () => {}, AbortSignal.timeout(30_000));
  const [head] = await lease.take(1);
  await lease.park(head!.place, new TallyError("refused", "no"));
  expect(count(path, "tally_packs")).toBe(1);
  const rows = await lease.take(1_000);
  expect(rows.length).toBe(56);
  await end(lease, rows);
  expect([count(path, "tally_packs"), count(path, "tally_rows")]).toEqual([0, 4]);
  expect(await outbox.stats()).toMatchObject({ rows: 3, parked: 1 });
  await outbox.replay(head!.place);
  expect((await lease.take(1_000)).length).toBe(4);
});

it.each([
  ["a body", "records", (blob: Buffer) => blob.indexOf("id-000007") + 200, ["id-000007"]],
  ["the length in front of a record", "records", (blob: Buffer) => blob.indexOf("id-000007") - 1_000, []],
  ["where a record ends", "list", () => 7 * 12, []],
  ["a checksum", "list", () => 7 * 12 + 4, ["id-000007"]],
] as const)(
  "a byte of %s that is not what was stored: the others go on, and that row, if it is one, is set aside",
  async (what, column, where, lost) => {
    const path = at(`damaged-${column}-${what.length}.db`);
    const all = ids(30);
    await filled(path, all);
    withFile(path, (sql) => {
      const blob = Buffer.from(sql.prepare(`SELECT ${column} AS blob FROM tally_packs`).get()?.["blob"] as Uint8Array);
      const record = blob.indexOf("id-000007");
      // The length lies in front of the numbers and texts of its record.
      const offset = what.startsWith("the length") ? startOf(blob, 7) : where(blob);
      expect(column === "list" || record > 0).toBe(true);
      blob[offset] = (blob[offset] ?? 0) ^ 0x10;
      sql.prepare(`UPDATE tally_packs SET ${column} = ?`).run(blob);
    });
    const host = recordingHost();
    await using outbox = await openOutbox(path, {}, host);
    await using lease = await outbox.lease(["broker"], () => {}, AbortSignal.timeout(30_000));
    const taken = await lease.take(100);
    expect(taken.map(({ message }) => message.id)).toEqual(
      all.filter((id) => !(lost as readonly string[]).includes(id)),
    );
    expect(host.heard).toEqual(lost.map(() => expect.stringMatching(/row 8 of .* is damaged.*tally_damaged_rows/)));
    expect((await outbox.stats()).rows).toBe(30 - lost.length);
    const aside = withFile(path, (sql) =>
      sql.prepare("SELECT place, length(record) AS bytes FROM tally_damaged_rows").all(),
    );
    expect(aside).toEqual(lost.map(() => ({ place: 8, bytes: expect.any(Number) as number })));
    await end(lease, taken);
    expect(await outbox.stats()).toEqual({ rows: 0, parked: 0, oldestAt: null });
  },
);

/** Where the length in front of a record lies. */
function startOf(blob: Buffer, row: number): number {
  let offset = 0;
  for (let n = 0; n < row; n++) offset += 4 + blob.readUInt32LE(offset);
  return offset;
}

it("what the rows of a pack have in common is not what was stored: those that need it are set aside, the others go on", async () => {
  const path = at("damaged-common.db");
  const all = ids(30).map((id, n) => {
    const each = row(id);
    // Who has anything native stands for himself.
    return n % 3 === 0 ? { ...each, message: { ...each.message, native: { n } } } : each;
  });
  {
    await using outbox = await openOutbox(path);
    await outbox.put(all);
  }
  withFile(path, (sql) => {
    const list = Buffer.from(sql.prepare("SELECT list FROM tally_packs").get()?.["list"] as Uint8Array);
    const orders = list.indexOf("orders");
    expect(orders).toBeGreaterThan(30 * 12);
    list[orders] = "O".charCodeAt(0);
    sql.prepare("UPDATE tally_packs SET list = ?").run(list);
  });
  const host = recordingHost();
  await using outbox = await openOutbox(path, {}, host);
  await using lease = await outbox.lease(["broker"], () => {}, AbortSignal.timeout(30_000));
  const taken = await lease.take(100);
  expect(taken.map(({ message }) => message.native)).toEqual(Array.from({ length: 10 }, (_, n) => ({ n: 3 * n })));
  expect(host.heard.length).toBe(20);
  expect(count(path, "tally_damaged_rows")).toBe(20);
  await end(lease, taken);
  expect(await outbox.stats()).toEqual({ rows: 0, parked: 0, oldestAt: null });
});

it("the packs of a damaged file are saved, without what has been relayed of them", async () => {
  const path = at("saved.db");
  await filled(path, ids(100));
  await filled(path, ids(30, 200).toReversed());
  {
    await using outbox = await openOutbox(path);
    await using lease = await outbox.lease(["broker"], () => {}, AbortSignal.timeout(30_000));
    await end(lease, (await lease.take(60)).slice(0, 50));
  }
  spoil(path, "tally_rows_id");
  const host = recordingHost();
  await using outbox = await openOutbox(path, {}, host);
  expect(host.heard).toEqual([expect.stringMatching(/is damaged .* it is kept as/)]);
  expect((await outbox.stats()).rows).toBe(80);
  await using lease = await outbox.lease(["broker"], () => {}, AbortSignal.timeout(30_000));
  const taken = await lease.take(1_000);
  expect(taken.map(({ message }) => message.id)).toEqual([...ids(100).slice(50), ...ids(30, 200).toReversed()]);
  expect(await outbox.put([row("new"), row(ids(100)[70]!)])).toEqual(["stored", "same"]);
  await end(lease, await lease.take(10));
  await end(lease, taken);
  expect(await outbox.stats()).toEqual({ rows: 0, parked: 0, oldestAt: null });
});

it("at the bound a pack goes in row by row, as far as there is room, and deleting makes room for the rest", async () => {
  const path = at("bound.db");
  await using outbox = await openOutbox(path, { maxBytes: 1024 * 1024 });
  const all = ids(4_000);
  const results = await outbox.put(all.map((id) => row(id)));
  const stored = results.indexOf("full");
  expect(stored).toBeGreaterThan(1_000);
  expect(results.slice(stored).every((result) => result === "full")).toBe(true);
  expect((await outbox.stats()).rows).toBe(stored);
  await using lease = await outbox.lease(["broker"], () => {}, AbortSignal.timeout(30_000));
  const taken = await lease.take(4_000);
  expect(taken.map(({ message }) => message.id)).toEqual(all.slice(0, stored));
  await lease.park(taken[5]!.place, new TallyError("refused", "no"));
  await end(
    lease,
    taken.filter((_, n) => n % 3 === 0),
  );
  await end(
    lease,
    taken.filter((_, n) => n % 3 !== 0 && n !== 5),
  );
  expect(await outbox.stats()).toMatchObject({ rows: 0, parked: 1 });
  expect(new Set(await outbox.put(all.slice(stored, stored + 500).map((id) => row(id))))).toEqual(new Set(["stored"]));
});
