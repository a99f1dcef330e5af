// What was asked for, and got no answer that says whether it was done.
import { join } from "node:path";
import type { Worker } from "node:worker_threads";
import { expect, it, vi } from "vitest";
import type { Database } from "../src/worker/file/database.ts";
import type { Fault } from "../src/worker/fault.ts";
import { Group } from "../src/worker/group.ts";
import { idsIn, openOutbox, row } from "./open.ts";
import { scratch } from "./rig.ts";

const threads = vi.hoisted(() => ({ all: [] as Worker[] }));
vi.mock("node:worker_threads", async (original) => {
  const module = await original<typeof import("node:worker_threads")>();
  class Watched extends module.Worker {
    constructor(...given: ConstructorParameters<typeof Worker>) {
      super(...given);
      threads.all.push(this);
    }
  }
  return { ...module, Worker: Watched };
});
const directory = scratch();

it("a put that is under way when the thread ends may have been stored; one that comes after has not", async () => {
  const path = join(directory, "ended.db");
  const outbox = await openOutbox(path);
  await outbox.put([row("before")]);
  const under = outbox.put([row("under-way")]);
  // It leaves with this tick, and needs an fsync for its answer.
  await new Promise((resolve) => process.nextTick(resolve));
  const ended = threads.all.at(-1)!.terminate();
  await expect(under).rejects.toMatchObject({ code: "store", mayArrive: true });
  await ended;
  await expect(outbox.put([row("after")])).rejects.toMatchObject({ code: "store", mayArrive: false });
  await outbox[Symbol.asyncDispose]();
  expect(await idsIn(path)).toContain("before");
});

it.each([
  ["the disk fails", 1034, true], // SQLITE_IOERR_FSYNC
  ["the disk is full", 13, false],
  ["another process is at it", 261, false], // SQLITE_BUSY_RECOVERY
])(
  "of a commit that fails because %s, its rows may be in the file: only an error of the disk leaves that open",
  (_why, errcode, mayArrive) => {
    const failed: Fault[] = [];
    const thrown = Object.assign(new Error("as SQLite said it"), { code: "ERR_SQLITE_ERROR", errcode });
    const database = {
      ...{ path: "x.db", begin() {}, rollback() {}, sql: { exec() {} } },
      commit() {
        throw thrown;
      },
    } as unknown as Database;
    const answers = {
      ok: () => expect.unreachable(),
      failed: (_n: number, error: unknown) => void failed.push(error as Fault),
    };
    const group = new Group(database, "acked", answers);
    group.add({ n: 1, run: () => ({ value: null }) });
    group.commit();
    expect(failed.map((fault) => fault.mayArrive)).toEqual([mayArrive]);
    // A statement that fails is undone with its transaction.
    group.add({
      n: 2,
      run() {
        throw thrown;
      },
    });
    expect(failed.at(-1)!.mayArrive).toBe(false);
  },
);
