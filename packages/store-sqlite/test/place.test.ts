import { once } from "node:events";
import { chmodSync, linkSync, readdirSync, statSync, unlinkSync } from "node:fs";
import { join } from "node:path";
import { expect, it, vi } from "vitest";
import { networkFileSystem } from "../src/worker/file/place.ts";
import { judgeSqlite } from "../src/worker/file/version.ts";
import { Child } from "./child.ts";
import { code, openInbox, openOutbox, recordingHost, row } from "./open.ts";
import { scratch, withFile } from "./rig.ts";

// A store opens a thread, and the machine may be busy.
vi.setConfig({ testTimeout: 60_000 });
const directory = scratch();
const at = (name: string): string => join(directory, name);

it("a place that is refused is an error, not the silent end of a process that has nothing else to do", async () => {
  const child = new Child("refused-process.ts", at("nowhere/outbox.db"));
  await once(child.process, "close");
  expect(child.lines).toEqual([
    expect.stringMatching(/^\[store\] the directory of .*nowhere\/outbox\.db does not exist$/),
  ]);
});

it("a second name of the file is refused: its log would have another", async () => {
  await (await openOutbox(at("linked.db")))[Symbol.asyncDispose]();
  linkSync(at("linked.db"), at("other-name.db"));
  await expect(openOutbox(at("other-name.db"))).rejects.toSatisfy(code("store", /second name/));
});

it("network file systems are known by their number; local ones and containers' layers are not refused", () => {
  expect([0x6969, 0x517b, 0xfe534d42, 0xff534d42, -11317950].map(networkFileSystem)).toEqual([
    "NFS",
    "SMB",
    "SMB2",
    "CIFS",
    "CIFS",
  ]);
  for (const local of [0xef53, 0x01021994, 0x794c7630, 0x58465342, 0x9123683e])
    expect(networkFileSystem(local)).toBeNull();
});

it("an SQLite that can damage a store is refused for several processes, and surfaced for one", () => {
  for (const version of ["3.7.0", "3.46.1", "3.51.2"]) {
    expect(() => judgeSqlite(version, "many")).toThrow(/3\.51\.3/);
    expect(judgeSqlite(version, "one")).toMatch(/can damage a store/);
  }
  for (const version of ["3.51.3", "3.53.4", "4.0.0"]) expect(judgeSqlite(version, "many")).toBeNull();
  expect(() => judgeSqlite("3.6.23", "one")).toThrow(/no write-ahead log/);
});

it("store files are for their owner alone, whatever the umask, also when they were open to others", async () => {
  for (const open of [openOutbox, openInbox]) {
    const path = at(`private-${open.name}.db`);
    const store = await open(path);
    if ("put" in store) await (await store.lease(["b"], () => {}, AbortSignal.timeout(5_000)))[Symbol.asyncDispose]();
    await store[Symbol.asyncDispose]();
    chmodSync(path, 0o666);
    await using _ = await open(path);
    const files = readdirSync(directory).filter((name) => name.startsWith(`private-${open.name}`));
    expect(files.length).toBeGreaterThanOrEqual(5);
    for (const file of files) expect([file, statSync(at(file)).mode & 0o777]).toEqual([file, 0o600]);
  }
});

it("the user's own database keeps its mode and its tables, and gets Tally's beside them", async () => {
  withFile(at("app.db"), (sql) => sql.exec("CREATE TABLE bills (id TEXT)"));
  chmodSync(at("app.db"), 0o644);
  const host = recordingHost();
  await (await openInbox(at("app.db"), {}, host))[Symbol.asyncDispose]();
  expect(statSync(at("app.db")).mode & 0o777).toBe(0o644);
  expect(host.heard).toEqual([expect.stringMatching(/can be read by others/)]);
  const tables = withFile(at("app.db"), (sql) =>
    sql
      .prepare("SELECT name FROM sqlite_schema WHERE type = 'table'")
      .all()
      .map((each) => String(each["name"])),
  );
  expect(tables).toContain("bills");
  expect(tables.filter((name) => !/^(tally_|sqlite_)/.test(name))).toEqual(["bills"]);
});

it("an outbox is no inbox, and neither is somebody else's database", async () => {
  await (await openOutbox(at("kind.db")))[Symbol.asyncDispose]();
  await expect(openInbox(at("kind.db"))).rejects.toSatisfy(code("store", /is an outbox/));
  await (await openInbox(at("kind2.db")))[Symbol.asyncDispose]();
  await expect(openOutbox(at("kind2.db"))).rejects.toSatisfy(code("store", /is an inbox/));
  withFile(at("theirs.db"), (sql) => sql.exec("CREATE TABLE bills (id TEXT)"));
  await expect(openOutbox(at("theirs.db"))).rejects.toSatisfy(code("store", /something else/));
});

it("a lease whose lock was deleted is lost, and says so once", async () => {
  await using outbox = await openOutbox(at("lock.db"));
  const lost: unknown[] = [];
  await using lease = await outbox.lease(["broker"], (error) => lost.push(error), AbortSignal.timeout(5_000));
  for (const name of readdirSync(directory).filter((each) => each.startsWith("lock.db-relay-"))) unlinkSync(at(name));
  await expect(lease.take(1)).rejects.toSatisfy(code("fenced"));
  await expect(lease.take(1)).rejects.toSatisfy(code("fenced"));
  expect(lost.length).toBe(1);
});

it("a closed store takes nothing", async () => {
  const outbox = await openOutbox(at("closed.db"));
  const putting = outbox.put([row("1")]);
  await outbox[Symbol.asyncDispose]();
  expect(await putting).toEqual(["stored"]);
  await expect(outbox.put([row("2")])).rejects.toSatisfy(code("closed"));
  await outbox[Symbol.asyncDispose]();
});
