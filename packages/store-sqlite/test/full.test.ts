import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { spawnSync } from "node:child_process";
import { expect, it, vi } from "vitest";
import { mount, unmount } from "./mount.ts";
import { code, idsIn, openInbox, openOutbox, row } from "./open.ts";
import { scratch, withFile } from "./rig.ts";

// A store opens a thread, and the machine may be busy.
vi.setConfig({ testTimeout: 60_000 });
const directory = scratch();

it("a full disk rejects, and loses nothing that was stored", async () => {
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

it("an inbox on a full disk claims nothing that it cannot remember", async () => {
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

it("pages that were freed go back to the disk", async () => {
  const path = join(directory, "shrinks.db");
  await using outbox = await openOutbox(path);
  for (let n = 0; n < 20; n++)
    await outbox.put(Array.from({ length: 50 }, (_, i) => row(`${n}-${i}`, new Uint8Array(20_000))));
  await using lease = await outbox.lease(["broker"], () => {}, AbortSignal.timeout(5_000));
  for (let rows = await lease.take(1_000); rows.length > 0; rows = await lease.take(1_000)) {
    await lease.end(
      rows.map(({ place }) => ({ place, proof: { routed: "yes", persisted: "yes", replicated: "yes" } })),
    );
  }
  await expect.poll(() => pages(path), { timeout: 9_000 }).toBeLessThan(64);
}, 20_000);

function pages(path: string): number {
  return withFile(path, (sql) => Number(sql.prepare("PRAGMA page_count").get()?.["page_count"]));
}
