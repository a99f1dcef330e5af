import { join } from "node:path";
import fc from "fast-check";
import { expect, it, vi } from "vitest";
import { identityByHash, identityById } from "../src/worker/inbox/identity.ts";
import { openInbox, recordingHost } from "./open.ts";
import { scratch, withFile } from "./rig.ts";
import { asFormat, spoil } from "./rig-file.ts";

// A store opens a thread, and the machine may be busy.
vi.setConfig({ testTimeout: 60_000 });
const directory = scratch();
const effect = (id: string) => ({ group: "g", topic: "t", producer: "p", id });
const ask = (id: string) => ({ ...effect(id), bodyHash: 1n, behind: null });

it("marks of ids that rise with time lie side by side", () => {
  fc.assert(
    fc.property(fc.nat(2 ** 31), fc.nat(2 ** 31), fc.uuid(), (one, other, random) => {
      // A UUIDv7: 48 bits of milliseconds first.
      const [earlier, later] = [Math.min(one, other), Math.max(one, other) + 1].map((ms) => {
        const time = (1_700_000_000_000 + ms).toString(16).padStart(12, "0");
        return identityById(effect(`${time.slice(0, 8)}-${time.slice(8)}-7${random.slice(15)}`));
      });
      expect(Buffer.compare(earlier!, later!)).toBe(-1);
    }),
  );
});

it("any difference in group, topic, producer or id is another identity, also behind the beginning of the id", () => {
  const long = "an id that is longer than sixteen bytes";
  const same = identityById(effect(long));
  expect(identityById(effect(long))).toEqual(same);
  for (const other of [{ group: "h" }, { topic: "u" }, { producer: "q" }, { id: `${long}.` }])
    expect(identityById({ ...effect(long), ...other })).not.toEqual(same);
  // What is short is filled up, and a filled-up one is not the same.
  expect(identityById(effect("1"))).not.toEqual(identityById(effect("1\0")));
});

/** An inbox of format 2 in which 1 is done, and 2 was begun 20 times and failed. */
async function older(name: string): Promise<string> {
  const path = join(directory, `${name}.db`);
  await (await openInbox(path))[Symbol.asyncDispose]();
  asFormat(path, 2);
  withFile(path, (sql) => {
    const insert = sql.prepare("INSERT INTO tally_marks_1 VALUES (?, 1, ?, ?, ?, 1, 0, NULL)");
    insert.run(identityByHash(effect("1")), 1, 1, 1);
    insert.run(identityByHash(effect("2")), 0, 20, 2);
  });
  return path;
}

it("an inbox of format 2 keeps its way, so that an older Tally that has it open finds our marks, and we find its", async () => {
  const path = await older("two");
  await using inbox = await openInbox(path);
  // A second one that upgrades it finds that done.
  await using another = await openInbox(path);
  const [done, failed, fresh] = await inbox.claim([ask("1"), ask("2"), ask("3")], 60_000);
  expect([done?.state, failed, fresh?.state]).toMatchObject(["done", { state: "fresh", attempt: 21 }, "fresh"]);
  expect((await another.claim([ask("3")], 1))[0]?.state).toBe("busy");
  const marks = withFile(path, (sql) => sql.prepare("SELECT identity FROM tally_marks_1").all());
  expect(marks.map((mark) => Buffer.from(mark["identity"] as Uint8Array).toString("hex")).toSorted()).toEqual(
    ["1", "2", "3"].map((id) => Buffer.from(identityByHash(effect(id))).toString("hex")).toSorted(),
  );
});

it("what is saved of a damaged inbox of format 2 is found again", async () => {
  const path = await older("damaged");
  spoil(path, "tally_parked_keys");
  const host = recordingHost();
  await using inbox = await openInbox(path, {}, host);
  expect(host.heard).toEqual([expect.stringMatching(/is damaged .* 2 rows were recovered/)]);
  expect((await inbox.claim([ask("1")], 60_000))[0]?.state).toBe("done");
});
