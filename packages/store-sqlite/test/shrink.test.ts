import { join } from "node:path";
import { expect, it, vi } from "vitest";
import { openOutbox, row } from "./open.ts";
import { scratch, withFile } from "./rig.ts";

// A store opens a thread, and the machine may be busy.
vi.setConfig({ testTimeout: 60_000 });
const directory = scratch();

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

it("while most of a file is still to be relayed its end is not moved to the front", async () => {
  const path = join(directory, "keeps.db");
  await using outbox = await openOutbox(path);
  for (let n = 0; n < 40; n++)
    await outbox.put(Array.from({ length: 50 }, (_, i) => row(`${n}-${i}`, new Uint8Array(20_000))));
  await using lease = await outbox.lease(["broker"], () => {}, AbortSignal.timeout(5_000));
  const full = pages(path);
  const end = async (most: number): Promise<void> => {
    for (let left = most; left > 0;) {
      const rows = await lease.take(left);
      left -= rows.length;
      await lease.end(
        rows.map(({ place }) => ({ place, proof: { routed: "yes", persisted: "yes", replicated: "yes" } })),
      );
    }
    // The thread gives a step back between any two things that it is asked.
    for (let turn = 0; turn < 50; turn++) await outbox.stats();
  };
  await end(1_400);
  expect(pages(path)).toBe(full);
  await end(500);
  await expect.poll(() => pages(path), { timeout: 9_000 }).toBeLessThan(full / 2);
}, 60_000);

function pages(path: string): number {
  return withFile(path, (sql) => Number(sql.prepare("PRAGMA page_count").get()?.["page_count"]));
}
