// What becomes of one store whose bytes are not what was written: torn, flipped, emptied, replaced, of another version.
import {
  closeSync,
  copyFileSync,
  fstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  truncateSync,
  unlinkSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import type { ClaimAsk } from "@tallymq/core/spi";
import { describe, expect, it, vi } from "vitest";
import { Database } from "../src/worker/file/database.ts";
import { type Opened, openStore } from "../src/worker/file/open.ts";
import { STORE_FORMAT } from "../src/worker/file/stamp.ts";
import { kindOf } from "../src/worker/kinds.ts";
import { GivenMark } from "../src/worker/outbox/given.ts";
import { outboxRoom } from "../src/worker/outbox/operations.ts";
import type { OpenArgs } from "../src/worker/protocol.ts";
import { code, idsIn, openInbox, openOutbox, recordingHost, row } from "./open.ts";
import { scratch, withFile } from "./rig.ts";

// A store opens a thread, and the machine may be busy.
vi.setConfig({ testTimeout: 60_000 });
const directory = scratch();
const at = (name: string): string => join(directory, name);
const PAGE = 16_384;

/** A store of `count` rows of 4 KiB, closed: all of it in the file. */
async function filled(path: string, count: number): Promise<readonly string[]> {
  const outbox = await openOutbox(path);
  const ids = Array.from({ length: count }, (_, n) => `id-${String(n).padStart(4, "0")}`);
  await outbox.put(ids.map((id) => row(id, new Uint8Array(4_096).fill(7))));
  await outbox[Symbol.asyncDispose]();
  return ids;
}

/** A store whose rows are in its log only, as a kill leaves it: copied while it is open. */
async function logged(path: string, count: number): Promise<readonly string[]> {
  const ids = Array.from({ length: count }, (_, n) => `id-${n}`);
  await using outbox = await openOutbox(`${path}-live`);
  for (const id of ids) await outbox.put([row(id)]);
  for (const side of ["", "-wal"]) copyFileSync(`${path}-live${side}`, path + side);
  // The mark of a store that has been one: made by opening a fresh one, whose file is replaced.
  mkdirSync(`${path}.d`);
  await (await openOutbox(`${path}.d/x`))[Symbol.asyncDispose]();
  copyFileSync(`${path}.d/x-open`, `${path}-open`);
  return ids;
}

/** The opener itself, without a thread around it. */
function openHere(path: string, heard: string[]): Opened {
  const args: OpenArgs = {
    kind: "outbox",
    path,
    maxBytes: 1024 ** 3,
    processes: "many",
    maxParked: 1,
    keepFor: 1_000,
    id: "id",
    now: { wall: Date.now(), monotonic: 0 },
  };
  return openStore(args, kindOf("outbox"), (what) => heard.push(what));
}

function flip(path: string, offset: number): void {
  const file = openSync(path, "r+");
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, offset);
  byte[0] = (byte[0] ?? 0) ^ 0x40;
  writeSync(file, byte, 0, 1, offset);
  closeSync(file);
}

/** Where a text lies in a file. */
function find(path: string, text: string): number {
  const found = readFileSync(path).indexOf(text);
  expect(found).toBeGreaterThan(0);
  return found;
}

describe("zero-length store: fresh only if it was never initialised", () => {
  it("fresh if it was never initialised", async () => {
    writeFileSync(at("fresh.db"), "");
    const host = recordingHost();
    await using outbox = await openOutbox(at("fresh.db"), {}, host);
    expect(await outbox.put([row("1")])).toEqual(["stored"]);
    expect(host.heard).toEqual([]);
  });

  it("refused, and left as it is, if it was one before", async () => {
    await filled(at("emptied.db"), 3);
    truncateSync(at("emptied.db"));
    writeFileSync(at("emptied.db-wal"), "evidence");
    await expect(openOutbox(at("emptied.db"))).rejects.toSatisfy(code("store", /no bytes/));
    expect([statSync(at("emptied.db")).size, readFileSync(at("emptied.db-wal"), "utf8")]).toEqual([0, "evidence"]);
  });
});

it("a store that is gone is surfaced, and a log without it is kept", async () => {
  await logged(at("gone.db"), 3);
  unlinkSync(at("gone.db"));
  const host = recordingHost();
  expect(await idsIn(at("gone.db"), host)).toEqual([]);
  expect(host.heard).toEqual([expect.stringMatching(/is gone/), expect.stringMatching(/log without its store/)]);
  expect(readdirSync(directory).some((name) => name.startsWith("gone.db-wal.damaged-"))).toBe(true);
});

describe("a newer store version: refused", () => {
  it("and not touched, whichever of the two it is", async () => {
    for (const open of [openOutbox, openInbox]) {
      const path = at(`newer-${open.name}.db`);
      await (await open(path))[Symbol.asyncDispose]();
      withFile(path, (sql) =>
        sql.exec(`UPDATE tally_store SET format = ${STORE_FORMAT + 1}; PRAGMA wal_checkpoint(TRUNCATE)`),
      );
      const before = readFileSync(path);
      await expect(open(path)).rejects.toSatisfy(
        code("store", new RegExp(`newer Tally \\(format ${STORE_FORMAT + 1}`)),
      );
      expect(readFileSync(path).equals(before)).toBe(true);
    }
  });
});

describe("torn tail at each byte; bit flip in the middle; impossible state: prefix recovered; that record quarantined; surfaced", () => {
  it("torn at and around each border of its frames: the log's whole commits are recovered, in order", async () => {
    const ids = await logged(at("torn.db"), 4);
    const size = statSync(at("torn.db-wal")).size;
    const frame = PAGE + 24;
    // At and around each frame's border, and inside of it.
    const cuts = new Set<number>();
    for (let end = 32; end <= size; end += frame) for (const by of [-1, 0, 1, 23, 24, 4_000]) cuts.add(end + by);
    let most = -1;
    for (const cut of [...cuts].filter((c) => c >= 0 && c <= size).sort((a, b) => a - b)) {
      const path = at(`torn-${cut}.db`);
      for (const side of ["", "-wal", "-open"]) copyFileSync(at("torn.db") + side, path + side);
      truncateSync(`${path}-wal`, cut);
      const heard: string[] = [];
      const opened = openHere(path, heard);
      const found = opened.db.sql
        .prepare("SELECT id FROM tally_rows ORDER BY place")
        .all()
        .map((each) => Buffer.from(each["id"] as Uint8Array).toString());
      opened.close();
      expect(found).toEqual(ids.slice(0, found.length));
      expect(heard).toEqual([]);
      expect(found.length).toBeGreaterThanOrEqual(most);
      most = found.length;
    }
    expect(most).toBe(4);
  }, 120_000);

  it("bit flip in the middle of the log: the prefix is recovered, the log kept, and it is surfaced", async () => {
    const ids = await logged(at("flipped.db"), 12);
    const size = statSync(at("flipped.db-wal")).size;
    flip(at("flipped.db-wal"), Math.floor(size / 2));
    const damaged = readFileSync(at("flipped.db-wal"));
    const host = recordingHost();
    const found = await idsIn(at("flipped.db"), host);
    expect(found.length).toBeGreaterThan(0);
    expect(found.length).toBeLessThan(12);
    expect(found).toEqual(ids.slice(0, found.length));
    expect(host.heard).toEqual([expect.stringMatching(/log of .* is damaged in front of \d+ pages/)]);
    const kept = readdirSync(directory).find((name) => name.startsWith("flipped.db-wal.damaged-"));
    expect(readFileSync(at(kept ?? "")).equals(damaged)).toBe(true);
  });

  it("bit flip in a record: that row is set aside and surfaced, the others go on", async () => {
    const ids = await filled(at("record.db"), 20);
    // The record's own id, not the one in the index.
    flip(at("record.db"), find(at("record.db"), '"orders"]id-0007') + 2_000);
    const host = recordingHost();
    await using outbox = await openOutbox(at("record.db"), {}, host);
    await using lease = await outbox.lease(["broker"], () => {}, AbortSignal.timeout(5_000));
    const taken = await lease.take(100);
    expect(taken.map((each) => each.message.id)).toEqual(ids.filter((id) => id !== "id-0007"));
    expect(host.heard).toEqual([expect.stringMatching(/row 8 of .* is damaged.*tally_damaged_rows/)]);
    expect((await outbox.stats()).rows).toBe(19);
    expect(withFile(at("record.db"), (sql) => sql.prepare("SELECT place FROM tally_damaged_rows").all())).toEqual([
      { place: 8 },
    ]);
  });

  it("impossible state: a damaged page is quarantined with its store, kept by name, and what can be read goes on", async () => {
    const ids = await filled(at("page.db"), 200);
    const pages = statSync(at("page.db")).size / PAGE;
    const middle = Math.floor(find(at("page.db"), "id-0100") / PAGE) * PAGE;
    const file = openSync(at("page.db"), "r+");
    expect(fstatSync(file).size).toBe(pages * PAGE);
    writeSync(file, Buffer.alloc(PAGE, 0xa5), 0, PAGE, middle);
    closeSync(file);
    const damaged = readFileSync(at("page.db"));
    const host = recordingHost();
    const found = await idsIn(at("page.db"), host);
    // One page of rows is gone: 3 of 4 KiB.
    expect(found.length).toBeGreaterThanOrEqual(190);
    expect(found).toEqual(ids.filter((id) => found.includes(id)));
    expect(host.heard).toEqual([expect.stringMatching(/is damaged .* it is kept as .*; \d+ rows were recovered/)]);
    const kept = readdirSync(directory).find((name) => /^page\.db\.damaged-[^.]*$/.test(name));
    expect(readFileSync(at(kept ?? "")).equals(damaged)).toBe(true);
    // Places go on far behind, and the store works.
    await using outbox = await openOutbox(at("page.db"));
    expect(await outbox.put([row("new")])).toEqual(["stored"]);
    expect(await outbox.put([row(ids[0] ?? "", new Uint8Array(4_096).fill(7))])).toEqual(["same"]);
  });
});

it("a store that is no database any more is quarantined; a file that never was one is refused and left", async () => {
  await filled(at("header.db"), 5);
  flip(at("header.db"), 3);
  const host = recordingHost();
  expect(await idsIn(at("header.db"), host)).toEqual([]);
  expect(host.heard).toEqual([expect.stringMatching(/is damaged/)]);
  writeFileSync(at("notes.txt"), "not a store, and not ours to move. ".repeat(100));
  await expect(openOutbox(at("notes.txt"))).rejects.toSatisfy(code("store", /is not a store/));
  expect(readFileSync(at("notes.txt"), "utf8")).toMatch(/^not a store/);
});

function keyOf(n: number): ClaimAsk {
  return { group: "g", topic: "t", producer: "p", id: `${n}`, bodyHash: 1n, behind: null };
}

it("a damaged file that holds the user's tables too is refused, and left as it is", async () => {
  const path = at("app.db");
  withFile(path, (sql) => sql.exec("CREATE TABLE bills (id TEXT); INSERT INTO bills VALUES ('b1')"));
  const inbox = await openInbox(path);
  const keys = Array.from({ length: 2_000 }, (_, n) => keyOf(n));
  await inbox.claim(keys, 1_000);
  await inbox[Symbol.asyncDispose]();
  const root = withFile(path, (sql) => {
    const page = Number(sql.prepare("PRAGMA page_size").get()?.["page_size"]);
    return (
      page *
      (Number(sql.prepare("SELECT rootpage FROM sqlite_schema WHERE name = 'tally_marks_1'").get()?.["rootpage"]) - 1)
    );
  });
  const file = openSync(path, "r+");
  writeSync(file, Buffer.alloc(1_000, 0xa5), 0, 1_000, root);
  closeSync(file);
  const before = readFileSync(path);
  await expect(openInbox(path)).rejects.toSatisfy(code("store", /holds other tables/));
  expect(readFileSync(path).equals(before)).toBe(true);
});

it("a damaged row that cannot be set aside now keeps none of those that were given with it: the next look tries again", async () => {
  const path = at("aside.db");
  await filled(path, 3);
  withFile(path, (sql) => sql.exec("UPDATE tally_rows SET crc = crc + 1 WHERE place = 2"));
  const heard: string[] = [];
  const { db, close } = openHere(path, heard);
  try {
    const { operations, close: leave } = outboxRoom(db, null, true, (what) => heard.push(what));
    const places = (): readonly number[] => {
      const { value } = operations["take"]!.run({ lease: 1, most: 10, limits: [] });
      return [...(value as { numbers: Float64Array }).numbers].filter((_, n) => n % 3 === 0);
    };
    expect(operations["lease"]!.run({ lease: 1, destinations: ["broker"] })).toEqual({ value: true });
    const { begin } = Database.prototype;
    const locked = vi.spyOn(db, "begin").mockImplementation(() => {
      throw new Error("database is locked");
    });
    expect(places()).toEqual([1, 3]);
    locked.mockImplementation(function (this: Database, level) {
      begin.call(this, level);
    });
    expect(places()).toEqual([]);
    expect(heard.filter((what) => what.includes("row 2"))).toHaveLength(1);
    leave();
  } finally {
    close();
  }
});

it("a look that fails in the middle has given nothing: the next one begins where it began", async () => {
  const path = at("middle.db");
  await filled(path, 3);
  const { db, close } = openHere(path, []);
  try {
    const { operations, close: leave } = outboxRoom(db, null, true, () => {});
    const take = (): unknown => operations["take"]!.run({ lease: 1, most: 10, limits: [["orders", 1]] }).value;
    operations["lease"]!.run({ lease: 1, destinations: ["broker"] });
    const failing = vi.spyOn(db, "reading").mockImplementationOnce((looks) => {
      looks();
      throw new Error("disk I/O error");
    });
    expect(take).toThrow(/disk I\/O error/);
    expect(failing).toHaveBeenCalledOnce();
    for (const place of [1, 2, 3]) {
      expect([...(take() as { numbers: Float64Array }).numbers]).toEqual([
        place,
        expect.any(Number),
        expect.any(Number),
      ]);
      operations["end"]!.run({ lease: 1, places: Float64Array.of(place) }).committed?.();
    }
    leave();
  } finally {
    close();
  }
});

it("how far rows were given is noted again where the commit of the note failed", async () => {
  const path = at("noted.db");
  await filled(path, 3);
  const { db, close } = openHere(path, []);
  try {
    const heard: string[] = [];
    const mark = new GivenMark(db, ["broker"], (what) => heard.push(what));
    vi.spyOn(db, "commit").mockImplementationOnce(() => {
      throw new Error("disk full");
    });
    const noted = (): unknown => db.sql.prepare("SELECT up_to FROM tally_given").get()?.["up_to"];
    mark.advance(new Map([["broker", 3]]));
    expect([heard.length, noted()]).toEqual([1, undefined]);
    mark.advance(new Map([["broker", 3]]));
    expect(noted()).toBe(3);
  } finally {
    close();
  }
});

it("a damaged inbox of its own is quarantined, and its marks are saved", async () => {
  const path = at("inbox.db");
  const inbox = await openInbox(path);
  const claims = await inbox.claim(
    Array.from({ length: 3_000 }, (_, n) => keyOf(n)),
    1_000,
  );
  await Promise.all(claims.map((claim) => inbox.end(claim as never, { is: "done" })));
  await inbox[Symbol.asyncDispose]();
  const size = statSync(path).size;
  const file = openSync(path, "r+");
  writeSync(file, Buffer.alloc(PAGE, 0xa5), 0, PAGE, (Math.floor(size / PAGE) - 2) * PAGE);
  closeSync(file);
  const host = recordingHost();
  await using again = await openInbox(path, {}, host);
  expect(host.heard).toEqual([expect.stringMatching(/is damaged/)]);
  const states = (
    await again.claim(
      Array.from({ length: 3_000 }, (_, n) => keyOf(n)),
      1_000,
    )
  ).map((claim) => claim.state);
  expect(states.filter((state) => state === "done").length).toBeGreaterThan(1_000);
});

it("a damaged inbox whose holders died with the machine: what they were at is nobody's, however long that had been up", async () => {
  const path = at("claimed.db");
  const keys = Array.from({ length: 3_000 }, (_, n) => keyOf(n));
  const inbox = await openInbox(path);
  await inbox.claim(keys, 60_000);
  await inbox[Symbol.asyncDispose]();
  // In the time of that boot, which had been up for a month.
  withFile(path, (sql) => sql.exec("UPDATE tally_marks_1 SET until = until + 30 * 86400000.0"));
  const size = statSync(path).size;
  const file = openSync(path, "r+");
  writeSync(file, Buffer.alloc(PAGE, 0xa5), 0, PAGE, (Math.floor(size / PAGE) - 2) * PAGE);
  closeSync(file);
  const host = recordingHost();
  await using again = await openInbox(path, {}, host);
  expect(host.heard).toEqual([expect.stringMatching(/is damaged/)]);
  const claims = await again.claim(keys, 1_000);
  expect(new Set(claims.map(({ state }) => state))).toEqual(new Set(["fresh"]));
  expect(claims.filter((claim) => claim.state === "fresh" && claim.attempt === 2).length).toBeGreaterThan(1_000);
});

it("fuzz: whatever bytes lie there, opening ends with a store or a typed error, and never hangs or crashes", async () => {
  await filled(at("seed.db"), 30);
  const seed = readFileSync(at("seed.db"));
  let state = 12_345;
  const random = (below: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % below;
  };
  const outcomes = { opened: 0, refused: 0 };
  for (let round = 0; round < 40; round++) {
    const path = at(`fuzz-${round}.db`);
    const bytes = Buffer.from(seed);
    const kind = round % 4;
    // Flipped bytes; random pages; a random length; random bytes throughout.
    if (kind === 0) for (let n = 0; n < 1 + random(20); n++) bytes[random(bytes.length)] = random(256);
    if (kind === 1) for (let n = 0; n < PAGE; n++) bytes[random(bytes.length / PAGE) * PAGE + n] = random(256);
    if (kind === 3) for (let n = 0; n < bytes.length; n++) bytes[n] = random(256);
    writeFileSync(path, kind === 2 ? bytes.subarray(0, random(bytes.length)) : bytes);
    if (round % 8 < 4) copyFileSync(at("seed.db-open"), `${path}-open`);
    if (round % 3 === 0)
      writeFileSync(`${path}-wal`, Buffer.from(Array.from({ length: random(60_000) }, () => random(256))));
    try {
      const opened = openHere(path, []);
      opened.db.sql.prepare("SELECT place, record FROM tally_rows ORDER BY place").all();
      opened.close();
      // Not each time through a thread, which costs more than all the rest.
      if (round % 10 === 0) expect((await idsIn(path)).length).toBeLessThanOrEqual(30);
      outcomes.opened++;
    } catch (error) {
      if (!code("store")(error)) throw error;
      outcomes.refused++;
    }
  }
  expect(outcomes.opened).toBeGreaterThan(5);
  expect(outcomes.refused).toBeGreaterThan(5);
}, 120_000);
