import { once } from "node:events";
import { join } from "node:path";
import { afterEach, expect, it, vi } from "vitest";
import { Child } from "./child.ts";
import { scratch, withFile } from "./rig.ts";

// A store opens a thread, and the machine may be busy.
vi.setConfig({ testTimeout: 60_000 });
const directory = scratch();
const children: Child[] = [];
afterEach(async () => {
  for (const child of children.splice(0))
    if (child.process.exitCode === null && child.process.signalCode === null) await child.kill();
});

/** Until it has ended by itself. */
async function run(...args: readonly string[]): Promise<Child> {
  const child = new Child("tx-publish-process.ts", ...args);
  children.push(child);
  await once(child.process, "close");
  return child;
}

function file(name: string): string {
  const path = join(directory, name);
  withFile(path, (sql) => sql.exec("CREATE TABLE bills (n INTEGER)"));
  return path;
}

function counts(path: string): unknown {
  return withFile(path, (sql) => [
    Number(sql.prepare("SELECT count(*) AS n FROM bills").get()?.["n"]),
    Number(sql.prepare("SELECT count(*) AS n FROM tally_rows").get()?.["n"]),
  ]);
}

it("rule 20: kill -9 between put and commit: no message, no effect; later exactly one of each", async () => {
  const path = file("put.db");
  const killed = await run(path, "put");
  expect(killed.process.signalCode).toBe("SIGKILL");
  expect(counts(path)).toEqual([0, 0]);
  const next = await run(path);
  expect(next.lines).toEqual(["mails 1"]);
  expect(counts(path)).toEqual([1, 0]);
});

it("rule 20: kill -9 between commit and relay: the effect is there, and the message goes out after the restart", async () => {
  const path = file("committed.db");
  const killed = await run(path, "committed");
  expect(killed.process.signalCode).toBe("SIGKILL");
  expect(counts(path)).toEqual([1, 1]);
  const next = await run(path);
  expect(next.lines).toEqual(["mails 1"]);
  expect(counts(path)).toEqual([1, 0]);
});
