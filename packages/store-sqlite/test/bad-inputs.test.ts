// The rows of one table that a store on a disk has: where it may lie, who may have it, and what becomes of it at run time.
import { spawnSync } from "node:child_process";
import { chmodSync, mkdirSync, readFileSync, symlinkSync, unlinkSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { type Codec, openTally, topic } from "@tallymq/core";
import { sqlite } from "@tallymq/store-sqlite";
import { memory } from "@tallymq/testkit";
import { describe, expect, it, vi } from "vitest";
import { Child } from "./child.ts";
import { mount, unmount } from "./mount.ts";
import { code, idsIn, openInbox, openOutbox, row } from "./open.ts";
import { scratch, withFile } from "./rig.ts";

// A store opens a thread, and the machine may be busy.
vi.setConfig({ testTimeout: 60_000 });
const directory = scratch();
const text: Codec<string> = {
  contentType: "text/plain",
  encode: (body) => new TextEncoder().encode(body),
  decode: (bytes) => new TextDecoder().decode(bytes),
};
const at = (name: string): string => join(directory, name);

describe("outbox path missing, read-only, a symbolic link elsewhere: fail at start", () => {
  it("missing", async () => {
    await expect(openOutbox(at("nowhere/x.db"))).rejects.toSatisfy(code("store", /does not exist/));
  });

  it("a directory", async () => {
    mkdirSync(at("folder"));
    await expect(openOutbox(at("folder"))).rejects.toSatisfy(code("store", /is not a file/));
  });

  it("read-only: the file", async () => {
    await (await openOutbox(at("ro.db")))[Symbol.asyncDispose]();
    chmodSync(at("ro.db"), 0o400);
    await expect(openOutbox(at("ro.db"))).rejects.toSatisfy(code("store", /read-only/));
  });

  it("read-only: the directory", async () => {
    mkdirSync(at("mounted"));
    mount("tmpfs", "size=1m,ro", at("mounted"));
    try {
      await expect(openOutbox(at("mounted/x.db"))).rejects.toSatisfy(code("store", /not writable: EROFS/));
    } finally {
      unmount(at("mounted"));
    }
  });

  it("a symbolic link elsewhere", async () => {
    writeFileSync(at("target"), "");
    symlinkSync(at("target"), at("link.db"));
    await expect(openOutbox(at("link.db"))).rejects.toSatisfy(code("store", /symbolic link/));
    for (const side of ["-wal", "-open", "-pid", "-shm"]) {
      symlinkSync(at("target"), at(`side.db${side}`));
      await expect(openOutbox(at("side.db"))).rejects.toSatisfy(code("store", /symbolic link/));
      unlinkSync(at(`side.db${side}`));
    }
    expect(readFileSync(at("target"), "utf8")).toBe("");
  });

  it("openTally rejects, and opens no broker", async () => {
    let opened = 0;
    const broker = { ...memory(), open: () => (opened++, expect.fail("opened")) };
    for (const given of [{ outbox: sqlite(at("nowhere/x.db")) }, { inbox: sqlite(at("nowhere/x.db")) }])
      await expect(openTally({ service: "shop", broker, ...given })).rejects.toSatisfy(code("store", /does not exist/));
    expect(opened).toBe(0);
  });

  it("a path that is none is refused at construction", () => {
    for (const path of ["", "a\0b", ":memory:", "file:x.db"]) expect(() => sqlite(path)).toThrow(/\[bad-config\]/);
    expect(() => sqlite("x.db", { maxByte: 5 } as never)).toThrow(/did you mean "maxBytes"/);
    for (const options of [{ maxBytes: 0 }, { keepFor: "0s" }, { txTimeout: -1 }, { processes: "two" }])
      expect(() => sqlite("x.db", options as never)).toThrow(/\[bad-config\]/);
  });
});

describe("two processes on a store made for one: the second fails, naming the first's pid", () => {
  it("until that is killed", async () => {
    const path = join(directory, "one.db");
    const child = new Child("writer-process.ts", path, "w", "one");
    await child.has(1);
    const named = new RegExp(`process ${child.process.pid}\\b`);
    await expect(openOutbox(path, { processes: "one" })).rejects.toSatisfy(code("store", named));
    await expect(openOutbox(path)).rejects.toSatisfy(code("store", named));
    await child.kill();
    await (await openOutbox(path, { processes: "one" }))[Symbol.asyncDispose]();
  }, 60_000);

  it("a store that others have open cannot be had alone", async () => {
    const path = join(directory, "others.db");
    await using outbox = await openOutbox(path);
    await expect(openOutbox(path, { processes: "one" })).rejects.toSatisfy(
      code("store", new RegExp(`process ${process.pid}\\b`)),
    );
    expect(await outbox.put([row("1")])).toEqual(["stored"]);
  });
});

describe("unknown option key: rejected, with the nearest known key", () => {
  it.each([
    [{ maxByte: 5 }, "maxBytes"],
    [{ keep: "7d" }, "keepFor"],
    [{ process: "one" }, "processes"],
  ])("sqlite: %j", (options, nearest) => {
    const [key] = Object.keys(options);
    expect(() => sqlite("x.db", options as never)).toThrow(
      `[bad-config] sqlite has no option "${key}"; did you mean "${nearest}"?`,
    );
  });
});

describe('timeout 0, −1, NaN, "5 parsecs", 2³¹: rejected', () => {
  it.each(["keepFor", "txTimeout"])("sqlite: %s", (name) => {
    for (const given of [0, -1, Number.NaN, "5 parsecs", Number.POSITIVE_INFINITY, null])
      expect(() => sqlite("x.db", { [name]: given })).toThrow(`[bad-config] sqlite: ${name} must be a duration from`);
    // No timer is set for how long ids are kept: it may be longer than one.
    if (name === "txTimeout") expect(() => sqlite("x.db", { txTimeout: 2 ** 31 })).toThrow("[bad-config]");
  });
});

describe("configuration with `__proto__`: rejected", () => {
  it("sqlite", () => {
    const options = JSON.parse('{"__proto__":{"polluted":true}}') as object;
    expect(() => sqlite("x.db", options)).toThrow('[bad-config] sqlite has no option "__proto__"');
  });
});

describe("id empty, numeric, over 255 bytes, with NUL, `../`, quotes: rejected or opaque; stores are parameterised", () => {
  // Also what publish() refuses: a foreign sender may have written it.
  const ids = [
    "../../etc/passwd",
    "'; DROP TABLE tally_rows; --",
    '"); DELETE FROM tally_marks_1; --',
    "%",
    "_",
    "a\0b",
    "a",
    "?1",
    ":id",
    "é",
    "e\u0301",
    "\u212b",
    "\u00c5",
    "A",
    "x".repeat(255),
    "x".repeat(70_000),
    "7",
    " 7",
    "__proto__",
  ];

  it("outbox: each is a row of its own, and comes out as it went in", async () => {
    const sendable = ids.filter((id) => id.length <= 255);
    const outbox = await openOutbox(at("ids.db"));
    expect(await outbox.put(sendable.map((id) => row(id)))).toEqual(sendable.map(() => "stored"));
    expect(await outbox.put(sendable.map((id) => row(id)))).toEqual(sendable.map(() => "same"));
    expect(await outbox.put(sendable.map((id) => row(id, Uint8Array.of(1))))).toEqual(sendable.map(() => "conflict"));
    await expect(outbox.put([row("x".repeat(70_000))])).rejects.toSatisfy(code("bad-message", /too long/));
    await outbox[Symbol.asyncDispose]();
    expect(await idsIn(at("ids.db"))).toEqual(sendable);
  });

  it("inbox: each has its mark, and none another's", async () => {
    const key = (id: string, part = "id") => ({
      group: part === "group" ? id : "g",
      topic: part === "topic" ? id : "t",
      producer: part === "producer" ? id : "p",
      id: part === "id" ? id : "m",
      bodyHash: 1n,
      behind: null,
    });
    const keys = ["id", "group", "topic", "producer"].flatMap((part) => ids.map((id) => key(id, part)));
    await using inbox = await openInbox(at("marks.db"));
    const claims = await inbox.claim(keys, 60_000);
    expect(claims.map((claim) => claim.state)).toEqual(keys.map(() => "fresh"));
    for (const claim of claims.slice(0, 5)) expect(await inbox.end(claim as never, { is: "done" })).toBe(true);
    expect((await inbox.claim(keys, 60_000)).map((claim) => claim.state)).toEqual(
      keys.map((_, i) => (i < 5 ? "done" : "busy")),
    );
    expect(withFile(at("marks.db"), (sql) => sql.prepare("PRAGMA integrity_check").get())).toEqual({
      integrity_check: "ok",
    });
  });
});

describe("same id, different body: conflict surfaced, never overwritten", () => {
  it("outbox and inbox keep the first", async () => {
    await using outbox = await openOutbox(at("conflict.db"));
    expect(await outbox.put([row("1")])).toEqual(["stored"]);
    expect(await outbox.put([row("1", Uint8Array.of(1))])).toEqual(["conflict"]);
    await using lease = await outbox.lease(["broker"], () => {}, AbortSignal.timeout(5_000));
    expect((await lease.take(10)).map((each) => each.message.body.length)).toEqual([256]);
    await using inbox = await openInbox(at("conflict-inbox.db"));
    const key = { group: "g", topic: "t", producer: "p", id: "1", bodyHash: 1n, behind: null };
    expect((await inbox.claim([key, { ...key, bodyHash: 2n }], 60_000)).map((claim) => claim.state)).toEqual([
      "fresh",
      "conflict",
    ]);
  });
});

describe("store deleted or disk full at run time: sends reject; nothing accepted is lost", () => {
  it("deleted: puts reject, and nothing is told as stored", async () => {
    await using outbox = await openOutbox(at("deleted.db"));
    expect(await outbox.put([row("1")])).toEqual(["stored"]);
    await using lease = await outbox.lease(["broker"], () => {}, AbortSignal.timeout(5_000));
    unlinkSync(at("deleted.db"));
    await expect(outbox.put([row("2")])).rejects.toSatisfy(code("store", /deleted or replaced/));
    expect((await lease.take(10)).map((each) => each.message.id)).toEqual(["1"]);
  });

  it("disk full: rejects, and loses nothing that was stored", async () => {
    const disk = join(directory, "disk");
    mkdirSync(disk);
    mount("tmpfs", "size=2m", disk);
    try {
      const path = join(disk, "outbox.db");
      const outbox = await openOutbox(path);
      const stored: string[] = [];
      const rejected: unknown[] = [];
      for (let n = 0; n < 400 && rejected.length < 3; n++) {
        const ids = Array.from({ length: 10 }, (_, i) => `${n}-${i}`);
        // Ten callers, one commit: all of them are told the same.
        const results = await Promise.allSettled(ids.map((id) => outbox.put([row(id, new Uint8Array(1_000))])));
        for (const [index, result] of results.entries()) {
          if (result.status === "rejected") rejected.push(result.reason);
          else expect(result.value).toEqual(["stored"]);
          if (result.status === "fulfilled") stored.push(ids[index] ?? "");
        }
      }
      expect(rejected.length).toBeGreaterThan(0);
      for (const error of rejected) expect(code("store", /is full/)(error)).toBe(true);
      expect((await outbox.stats()).rows).toBe(stored.length);
      await outbox[Symbol.asyncDispose]();
      expect(spawnSync("mount", ["-o", "remount,size=16m", disk]).status).toBe(0);
      expect(await idsIn(path)).toEqual(stored);
      await using again = await openOutbox(path);
      expect(await again.put([row("later")])).toEqual(["stored"]);
    } finally {
      unmount(disk);
    }
  }, 60_000);

  it("disk full: an inbox claims nothing that it cannot remember", async () => {
    const disk = join(directory, "inbox-disk");
    mkdirSync(disk);
    mount("tmpfs", "size=2m", disk);
    try {
      const inbox = await openInbox(join(disk, "inbox.db"));
      const key = (n: number, i: number) => ({
        group: "g",
        topic: "t",
        producer: "p",
        id: `${n}-${i}`,
        bodyHash: 1n,
        behind: null,
      });
      let claimed = 0;
      let error: unknown = null;
      for (let n = 0; n < 2_000 && error === null; n++) {
        await inbox
          .claim(
            Array.from({ length: 100 }, (_, i) => key(n, i)),
            60_000,
          )
          .then(
            () => claimed++,
            (thrown: unknown) => (error = thrown),
          );
      }
      expect(code("store", /is full/)(error)).toBe(true);
      await inbox[Symbol.asyncDispose]();
      expect(spawnSync("mount", ["-o", "remount,size=16m", disk]).status).toBe(0);
      await using again = await openInbox(join(disk, "inbox.db"));
      expect(
        (await again.claim([key(0, 0), key(claimed - 1, 99), key(claimed, 0)], 60_000)).map((claim) => claim.state),
      ).toEqual(["busy", "busy", "fresh"]);
    } finally {
      unmount(disk);
    }
  }, 60_000);

  it("publish() rejects, and says that nothing may arrive; what it had accepted is sent when there is room", async () => {
    const disk = at("tally-disk");
    mkdirSync(disk);
    mount("tmpfs", "size=2m", disk);
    try {
      const orders = topic<string>("orders", { groups: ["billing"], outbox: "always", codec: text });
      const path = join(disk, "outbox.db");
      const accepted: string[] = [];
      const rejected: unknown[] = [];
      const away = memory();
      away.faults.on("openSender").fail(1_000_000);
      const first = await openTally({ service: "shop", broker: away, outbox: sqlite(path) });
      for (let n = 0; n < 1_000 && rejected.length < 3; n++) {
        await first.publish(orders, `${n} `.padEnd(20_000), { id: `m${n}` }).then(
          ({ id }) => accepted.push(id),
          (error: unknown) => rejected.push(error),
        );
      }
      expect(accepted.length).toBeGreaterThan(5);
      for (const error of rejected) expect(error).toMatchObject({ code: "store", mayArrive: false });
      await first.close({ within: 100 });
      expect(spawnSync("mount", ["-o", "remount,size=16m", disk]).status).toBe(0);
      const broker = memory();
      broker.declare(orders);
      await using _ = await openTally({ service: "shop", broker, outbox: sqlite(path), topics: [orders] });
      await expect.poll(() => broker.messages("orders", "billing").length).toBe(accepted.length);
      expect(broker.messages("orders", "billing").map(({ message }) => message.id)).toEqual(accepted);
    } finally {
      unmount(disk);
    }
  });
});
