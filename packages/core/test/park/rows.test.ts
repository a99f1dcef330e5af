import { seededRandom, virtualClock } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { watch, no } from "../support/scripted-transport.ts";
import { heal, ids, open, ordered, outage, type Spilling } from "../support/spilling.ts";

/** a1 was refused and is parked, a2 waits behind it, b1 has gone. */
async function parked(): Promise<Spilling> {
  const s = await open();
  await s.settle();
  // Later than any reading of the fence at the start.
  await s.r.clock.advance(3_000);
  await s.settle();
  await outage(s);
  for (const id of ["a1", "a2", "b1"]) void s.r.publisher.publish(ordered, { key: id.slice(0, 1), n: 1 }, { id });
  await s.settle();
  await heal(s);
  s.r.copies.find((c) => c.message.id === "a1")?.verdict(no("unroutable"));
  await s.accept();
  expect(s.outbox.rows.map((row) => row.message.id)).toEqual(["a2"]);
  return s;
}

describe("a parked row", () => {
  it("that is purged lets what waits behind it go at once, and opens the fence of its key", async () => {
    const s = await parked();
    const store = await s.outbox.openOutbox({ clock: virtualClock(), random: seededRandom(1), surfaced: () => {} });
    const [row] = await store.parked(1);
    expect(await store.purge(row!.row.place)).toBe(true);
    s.r.publisher.rowsChanged();
    await s.settle();
    await s.accept();
    expect(ids(s.r)).toEqual(["a1", "b1", "a2"]);
    const direct = watch(s.r.publisher.publish(ordered, { key: "a", n: 3 }, { id: "a3" }));
    await s.accept();
    expect(direct.value).toMatchObject({ state: "confirmed" });
  });

  it("that is replayed goes before what waits behind it", async () => {
    const s = await parked();
    const store = await s.outbox.openOutbox({ clock: virtualClock(), random: seededRandom(1), surfaced: () => {} });
    const [row] = await store.parked(1);
    expect(await store.replay(row!.row.place)).toBe(true);
    s.r.publisher.rowsChanged();
    await s.settle();
    await s.accept();
    expect(ids(s.r)).toEqual(["a1", "b1", "a1", "a2"]);
    expect(s.outbox.rows).toEqual([]);
  });
});
