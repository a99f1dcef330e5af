import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { afterEach, expect, it, vi } from "vitest";
import { Child } from "./child.ts";
import { idsIn, openOutbox, recordingHost, row } from "./open.ts";
import { scratch, withFile } from "./rig.ts";

// A store opens a thread, and the machine may be busy.
vi.setConfig({ testTimeout: 60_000 });
const directory = scratch();
const children: Child[] = [];
afterEach(async () => {
  for (const child of children.splice(0))
    if (child.process.exitCode === null && child.process.signalCode === null) await child.kill();
});

function start(program: string, ...args: readonly string[]): Child {
  const child = new Child(program, ...args);
  children.push(child);
  return child;
}

it.each([
  ["10", "one by one"],
  ["64", "in packs"],
])(
  "kill -9 at random moments: every row that was told as stored is there, in order, and the store is whole (%s callers, %s)",
  async (callers) => {
    const path = join(directory, `killed-${callers}.db`);
    const told: string[] = [];
    for (let round = 0; round < 6; round++) {
      const child = start("writer-process.ts", path, `r${round}`, "many", callers);
      await child.has(1 + Math.ceil(Math.random() * 400));
      await child.kill();
      told.push(...child.lines.filter((line) => line !== "open"));
    }
    const packs = withFile(path, (sql) => Number(sql.prepare("SELECT count(*) AS n FROM tally_packs").get()?.["n"]));
    expect(packs > 0).toBe(callers === "64");
    const host = recordingHost();
    const found = await idsIn(path, host);
    const set = new Set(found);
    expect(told.filter((id) => !set.has(id))).toEqual([]);
    expect(set.size).toBe(found.length);
    // Several callers at once: each round's rows lie in the order of their calls.
    for (let round = 0; round < 6; round++) {
      const numbers = found.filter((id) => id.startsWith(`r${round}-`)).map((id) => Number(id.split("-")[1]));
      expect(numbers).toEqual(numbers.toSorted((a, b) => a - b));
    }
    expect(host.heard).toEqual([]);
    using sql = new DatabaseSync(path) as DatabaseSync & Disposable;
    expect(sql.prepare("PRAGMA integrity_check").all()).toEqual([{ integrity_check: "ok" }]);
  },
  90_000,
);

it("three processes write one store, and one of them killed hinders nobody", async () => {
  const path = join(directory, "three.db");
  const writers = ["a", "b", "c"].map((name) => start("writer-process.ts", path, name));
  await Promise.all(writers.map((writer) => writer.has(100)));
  await writers[0]?.kill();
  const [, b, c] = writers;
  await Promise.all([b?.has((b?.lines.length ?? 0) + 100), c?.has((c?.lines.length ?? 0) + 100)]);
  await b?.kill();
  await c?.kill();
  const found = new Set(await idsIn(path));
  const told = writers.flatMap((writer) => writer.lines.filter((line) => line !== "open"));
  expect(told.filter((id) => !found.has(id))).toEqual([]);
}, 60_000);

it("the right to relay goes to the next at once when its holder is killed", async () => {
  const path = join(directory, "relay.db");
  const child = start("holder-process.ts", path);
  await child.has(1);
  await using outbox = await openOutbox(path);
  await outbox.put([row("1")]);
  let ours = false;
  const waiting = outbox
    .lease(["broker"], () => {}, AbortSignal.timeout(20_000))
    .then((lease) => {
      ours = true;
      return lease;
    });
  await new Promise((resolve) => setTimeout(resolve, 200));
  expect(ours).toBe(false);
  const killed = performance.now();
  await child.kill();
  await using lease = await waiting;
  expect(performance.now() - killed).toBeLessThan(1_000);
  expect((await lease.take(10)).map((each) => each.message.id)).toEqual(["1"]);
}, 60_000);

it("rule 12: a row that a killed process had taken may have been sent: it is given again as a doubtful one, what was put since is not", async () => {
  const path = join(directory, "taken.db");
  {
    await using outbox = await openOutbox(path);
    await outbox.put([row("1"), row("2")]);
  }
  const child = start("holder-process.ts", path);
  await child.has(1);
  await child.kill();
  await using outbox = await openOutbox(path);
  await outbox.put([row("3")]);
  await using lease = await outbox.lease(["broker"], () => {}, AbortSignal.timeout(20_000));
  expect((await lease.take(10)).map((each) => [each.message.id, each.doubtful])).toEqual([
    ["1", true],
    ["2", true],
    ["3", false],
  ]);
});
