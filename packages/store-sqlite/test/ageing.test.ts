import { join } from "node:path";
import { expect, it, vi } from "vitest";
import { code, openInbox, openOutbox, recordingHost } from "./open.ts";
import { scratch, withFile } from "./rig.ts";

// A store opens a thread, and the machine may be busy.
vi.setConfig({ testTimeout: 60_000 });
const directory = scratch();
const KEY = { group: "g", topic: "t", producer: "p", id: "1", bodyHash: 1n, behind: null };
const DAY = 86_400_000;

it("rule 12: after a restart of the machine a clock that jumped by years ages the inbox by one bucket at most", async () => {
  const path = join(directory, "jump.db");
  const host = recordingHost();
  let years = 0;
  const jumping = { ...host, clock: { ...host.clock, wall: () => Date.now() + years * 365 * DAY } };
  for (let opening = 0; opening < 7; opening++) {
    const inbox = await openInbox(path, { keepFor: "7d" }, jumping);
    const [claim] = await inbox.claim([KEY], 60_000);
    if (opening === 0 && claim?.state === "fresh") expect(await inbox.end(claim, { is: "done" })).toBe(true);
    else expect([opening, claim?.state]).toEqual([opening, "done"]);
    expect(bucket(path)).toBe(1 + opening);
    await inbox[Symbol.asyncDispose]();
    // The machine started again, with a clock that is far ahead.
    withFile(path, (sql) => sql.exec("UPDATE tally_inbox SET boot = 'another boot'"));
    years += 10;
  }
});

it("a clock that jumped back ages nothing, and a claim of before the restart is free", async () => {
  const path = join(directory, "back.db");
  const host = recordingHost();
  const inbox = await openInbox(path, {}, host);
  expect((await inbox.claim([KEY], 60_000))[0]?.state).toBe("fresh");
  await inbox[Symbol.asyncDispose]();
  withFile(path, (sql) => sql.exec("UPDATE tally_inbox SET boot = 'another boot'"));
  await using again = await openInbox(
    path,
    {},
    { ...host, clock: { ...host.clock, wall: () => Date.now() - 100 * DAY } },
  );
  expect((await again.claim([KEY], 60_000))[0]).toMatchObject({ state: "fresh", attempt: 2 });
  expect(bucket(path)).toBe(1);
});

it("a monotonic clock that has gone back is another boot's, also under the same name: its claims are over", async () => {
  const path = join(directory, "unnamed.db");
  const inbox = await openInbox(path);
  expect((await inbox.claim([KEY], 60_000))[0]?.state).toBe("fresh");
  await inbox[Symbol.asyncDispose]();
  // As where boots have no names: the last one had been up for longer than this one has.
  withFile(path, (sql) => sql.exec("UPDATE tally_inbox SET monotonic = monotonic + 1e9"));
  await using again = await openInbox(path);
  expect((await again.claim([KEY], 60_000))[0]).toMatchObject({ state: "fresh", attempt: 2 });
});

it("rule 13: two that open at once, the earlier clock second, are of one boot: neither takes the other's claim for over", async () => {
  const path = join(directory, "at-once.db");
  await using first = await openInbox(path);
  expect((await first.claim([KEY], 60_000))[0]?.state).toBe("fresh");
  // Its thread took two seconds to come to the file, in which the first one has noted a later time.
  const host = recordingHost();
  let late = 0;
  const slow = { ...host, clock: { ...host.clock, now: () => performance.now() - late } };
  await (await openInbox(join(directory, "origin.db"), {}, slow))[Symbol.asyncDispose]();
  late = 2_000;
  const opening = openInbox(path, {}, slow);
  late = 0;
  await using second = await opening;
  expect((await second.claim([KEY], 60_000))[0]?.state).toBe("busy");
  const [claim] = await second.claim([{ ...KEY, id: "2" }], 60_000);
  expect(claim?.state).toBe("fresh");
  expect((await first.claim([{ ...KEY, id: "2" }], 60_000))[0]?.state).toBe("busy");
});

it("old buckets are dropped whole", async () => {
  const path = join(directory, "dropped.db");
  const host = recordingHost();
  let ahead = 0;
  await using inbox = await openInbox(
    path,
    { keepFor: "7d" },
    { ...host, clock: { ...host.clock, now: () => performance.now() + ahead } },
  );
  for (let day = 0; day < 20; day++) {
    await inbox.claim([{ ...KEY, id: `${day}` }], 1);
    ahead += DAY;
  }
  const tables = withFile(path, (sql) =>
    sql.prepare("SELECT count(*) AS n FROM sqlite_schema WHERE name GLOB 'tally_marks_*'").get(),
  );
  expect(tables).toEqual({ n: 8 });
});

it("an inbox open in two processes' stead: both see a bucket that the other began", async () => {
  const path = join(directory, "two.db");
  const host = recordingHost();
  let ahead = 0;
  const clock = { ...host.clock, now: () => performance.now() + ahead };
  await using one = await openInbox(path, { keepFor: "7d" }, { ...host, clock });
  await using two = await openInbox(path, { keepFor: "7d" }, { ...host, clock });
  const [claim] = await one.claim([KEY], 30 * DAY);
  ahead += DAY;
  expect((await two.claim([KEY], 1))[0]?.state).toBe("busy");
  ahead += DAY;
  expect(claim?.state === "fresh" && (await one.end(claim, { is: "done" }))).toBe(true);
  expect((await two.claim([KEY], 1))[0]?.state).toBe("done");
  await expect(openOutbox(path)).rejects.toSatisfy(code("store", /is an inbox/));
});

it("opened with a shorter keepFor, it forgets nothing before that is over", async () => {
  const path = join(directory, "shorter.db");
  const host = recordingHost();
  let ahead = 0;
  const clock = { ...host.clock, now: () => performance.now() + ahead };
  const long = await openInbox(path, { keepFor: "70d" }, { ...host, clock });
  ahead += 9.9 * DAY; // within its first bucket
  const [claim] = await long.claim([KEY], 60_000);
  expect(claim?.state === "fresh" && (await long.end(claim, { is: "done" }))).toBe(true);
  await long[Symbol.asyncDispose]();
  await using short = await openInbox(path, { keepFor: "7d" }, { ...host, clock });
  for (let day = 0; day < 7; day++) {
    expect([day, (await short.claim([KEY], 60_000))[0]?.state]).toEqual([day, "done"]);
    ahead += DAY;
  }
  // And not for ever.
  for (let day = 7; day < 10; day++) {
    ahead += DAY;
    await short.claim([{ ...KEY, id: `${day}` }], 1);
  }
  expect((await short.claim([KEY], 60_000))[0]?.state).toBe("fresh");
});

function bucket(path: string): number {
  return withFile(path, (sql) => Number(sql.prepare("SELECT bucket FROM tally_inbox").get()?.["bucket"]));
}
