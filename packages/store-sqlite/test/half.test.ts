import { once } from "node:events";
import { mkdirSync } from "node:fs";
import { join } from "node:path";
import { afterEach, describe, expect, it, vi } from "vitest";
import { Child } from "./child.ts";
import { code, openInbox, openOutbox, recordingHost, row } from "./open.ts";
import { STORE_FORMAT } from "../src/worker/file/stamp.ts";
import { scratch, withFile } from "./rig.ts";
import { asFormat, spoil } from "./rig-file.ts";

// A store opens a thread, and the machine may be busy.
vi.setConfig({ testTimeout: 60_000 });
const directory = scratch();
const children: Child[] = [];
let places = 0;
afterEach(async () => {
  for (const child of children.splice(0))
    if (child.process.exitCode === null && child.process.signalCode === null) await child.kill();
});

/** Until it has ended by itself. */
async function run(...args: readonly string[]): Promise<Child> {
  const child = new Child("half-process.ts", ...args);
  children.push(child);
  await once(child.process, "close");
  return child;
}

describe("kill -9 at each point of a half message", () => {
  it.each([
    ["half.prepared", "plain", { mails: 0, checks: 1, paid: false }],
    ["half.worked", "plain", { mails: 1, checks: 1, paid: true }],
    ["half.decided", "plain", { mails: 1, checks: 0, paid: true }],
    ["half.decided", "ordered", { mails: 1, checks: 0, paid: true }],
    ["half.released", "ordered", { mails: 1, checks: 0, paid: true }],
  ])(
    "rule 24: killed -9 at %s of a topic that is %s: sent once if its work was done, and not otherwise",
    async (point, order, expected) => {
      const place = join(directory, `${++places}`);
      mkdirSync(place);
      const killed = await run(place, order, point);
      expect(killed.process.signalCode).toBe("SIGKILL");
      const next = await run(place, order);
      expect(JSON.parse(next.lines[0] ?? "null")).toEqual({ works: 0, ...expected });
      if (point !== "half.worked") return;
      // A third process finds nothing left to do.
      const last = await run(place, order);
      expect(JSON.parse(last.lines[0] ?? "null")).toMatchObject({ mails: 0, checks: 0, works: 0 });
    },
  );
});

const owner = { destination: "broker", producer: "shop", name: "payment" };

describe("a store of format 1, which knew no half messages", () => {
  it("is upgraded in place, with all that is in it; who knows format 1 alone leaves it as it is from then on", async () => {
    for (const [name, open] of [
      ["outbox", () => openOutbox(join(directory, "outbox-1.db"))],
      ["inbox", async () => (await openInbox(join(directory, "inbox-1.db"))).transactions!.outbox],
    ] as const) {
      const path = join(directory, `${name}-1.db`);
      await using first = name === "outbox" ? await openOutbox(path) : await openInbox(path);
      if ("put" in first) await first.put([row("1")]);
      await first[Symbol.asyncDispose]();
      asFormat(path, 1);
      const outbox = await open();
      if (name === "outbox") expect((await outbox.stats()).rows).toBe(1);
      expect((await outbox.halves?.prepare({ name: "payment", row: row("2") }, 1_000))?.is).toBe("prepared");
      if (name === "outbox") await outbox[Symbol.asyncDispose]();
      expect(withFile(path, (sql) => sql.prepare("SELECT format FROM tally_store").get()?.["format"])).toBe(
        STORE_FORMAT,
      );
    }
  });

  it("that is damaged is recovered without a word about tables that it never had", async () => {
    const path = join(directory, "damaged-1.db");
    const outbox = await openOutbox(path);
    for (let n = 0; n < 300; n++) await outbox.put([row(`${n}`)]);
    await outbox[Symbol.asyncDispose]();
    asFormat(path, 1);
    spoil(path, "tally_rows_id");
    const host = recordingHost();
    await using again = await openOutbox(path, {}, host);
    expect(host.heard).toEqual([expect.stringMatching(/is damaged/)]);
    expect(host.heard[0]).not.toMatch(/tally_halves/);
    expect((await again.halves?.prepare({ name: "payment", row: row("x") }, 1_000))?.is).toBe("prepared");
  });
});

describe("a damaged half message", () => {
  it("is set aside, surfaced, neither checked nor sent; others are", async () => {
    const path = join(directory, "spoilt.db");
    const host = recordingHost();
    await using outbox = await openOutbox(path, {}, host);
    const { halves } = outbox;
    for (const id of ["1", "2"]) await halves?.prepare({ name: "payment", row: row(id) }, 1);
    withFile(path, (sql) => sql.exec("UPDATE tally_halves SET record = zeroblob(400) WHERE place = 1"));
    await new Promise((resolve) => setTimeout(resolve, 20));
    const due = await halves?.due(owner, 1_000, 10);
    expect(due?.map((half) => half.row.message.id)).toEqual(["2"]);
    expect(host.heard).toEqual([expect.stringMatching(/half message 1 of .* is damaged/)]);
    expect(await halves?.stats()).toMatchObject({ undecided: 1, parked: 1 });
  });

  it("those of a damaged file are saved with it, decided ones too", async () => {
    const path = join(directory, "torn.db");
    const outbox = await openOutbox(path);
    for (let n = 0; n < 300; n++) await outbox.halves?.prepare({ name: "payment", row: row(`${n}`) }, 1);
    await outbox.halves?.decide(1, "rollback", true);
    await outbox[Symbol.asyncDispose]();
    spoil(path, "tally_halves_open");
    const host = recordingHost();
    await using again = await openOutbox(path, {}, host);
    expect(host.heard).toEqual([expect.stringMatching(/is damaged .* 300 rows were recovered/)]);
    expect(await again.halves?.stats()).toMatchObject({ undecided: 299, parked: 0 });
    expect((await again.halves?.prepare({ name: "payment", row: row("0") }, 1))?.is).toBe("rolledBack");
  });

  it("what cannot be stored is refused before anything is", async () => {
    await using outbox = await openOutbox(join(directory, "refused.db"));
    const bad = { ...row("1"), message: { ...row("1").message, native: { fn: () => {} } } };
    await expect(outbox.halves?.prepare({ name: "payment", row: bad }, 1_000)).rejects.toSatisfy(code("bad-message"));
    expect(await outbox.halves?.stats()).toMatchObject({ undecided: 0 });
  });
});
