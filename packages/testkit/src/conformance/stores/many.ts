import assert from "node:assert/strict";
import type { NewRow, OutboxLease, PutResult, Row } from "@tallymq/core/spi";
import { noise } from "../messages.ts";
import type { StoreCase } from "./case.ts";
import { refusal } from "./outbox.ts";
import { ended, fresh, inboxKey, rowIds, type StoreStage, storeCase } from "./stage.ts";

const MANY = 60;

/** Rows that are put together, with ids that rise, as a store may keep them in one piece; each of them is still one row. */
export const manyCases: readonly StoreCase[] = [
  storeCase(
    "of rows that were put together any may end before the others, also for who opens next",
    ["outbox"],
    async (stage) => {
      const outbox = await stage.outbox();
      const rows = many(stage, (n) => ({ slot: n % 3 }));
      await outbox.put(rows);
      const lease = await stage.lease(outbox);
      const first = await lease.take(25);
      assert.deepEqual(rowIds(first), idsOf(rows.slice(0, 25)));
      await lease.end(ended(first.filter((_, n) => n % 2 === 0)));
      assert.equal((await outbox.stats()).rows, MANY - 13);
      const second = await lease.take(20);
      assert.deepEqual(rowIds(second), idsOf(rows.slice(25, 45)));
      await lease.end(ended([...second.slice(3), first[1]!]));
      const left = rows.filter((_, n) => (n < 25 ? n % 2 === 1 && n !== 1 : n < 28 || n >= 45));
      const slots = await outbox.busySlots();
      assert.deepEqual(
        [0, 1, 2].map((slot) => slots[slot]),
        [0, 1, 2].map((slot) => left.filter((row) => row.slot === slot).length),
      );
      await stage.close(lease);
      await stage.close(outbox);
      const again = await stage.outbox();
      assert.equal((await again.stats()).rows, left.length);
      const next = await stage.lease(again);
      const taken = await takeAll(next);
      assert.deepEqual(rowIds(taken), idsOf(left));
      await next.end(ended(taken));
      assert.deepEqual(await again.stats(), { rows: 0, parked: 0, oldestAt: null });
      assert.deepEqual(await next.take(10), []);
    },
  ),

  storeCase("an identity among many is stored once, as long as it is there", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    const rows = many(stage);
    const [early, here, last] = [rows[5]!, rows[30]!, rows.at(-1)!];
    assert.deepEqual([...new Set(await outbox.put(rows))], ["stored"]);
    const between = stage.row({}, { id: `${here.message.id}-` });
    const elsewhere = stage.row({}, { id: here.message.id, topic: "elsewhere" });
    const other = { ...here, message: { ...here.message, body: noise(3) } };
    const results: readonly PutResult[] = ["same", "stored", "stored", "conflict", "same"];
    assert.deepEqual(await outbox.put([here, between, elsewhere, other, last]), results);
    assert.deepEqual(await outbox.put([between, elsewhere]), ["same", "same"]);
    // The same many again, and with others among them.
    assert.deepEqual([...new Set(await outbox.put(rows))], ["same"]);
    const lease = await stage.lease(outbox);
    const taken = await lease.take(40);
    await lease.end(ended([taken[30]!]));
    assert.deepEqual(await outbox.put([early, here]), ["same", "stored"]);
    assert.deepEqual([...new Set(await outbox.put(rows))], ["same"]);
    await lease.end(ended(taken.filter((_, n) => n !== 30)));
    const expected = rows.map((_, n) => (n < 40 && n !== 30 ? "stored" : "same"));
    assert.deepEqual(await outbox.put(rows), expected);
    assert.equal((await outbox.stats()).rows, MANY + 2);
  }),

  storeCase("many at once from several: each identity once, whoever stores it", ["outbox"], async (stage) => {
    const [one, two] = [await stage.outbox(), await stage.outbox()];
    const rows = many(stage);
    const [a, b] = await Promise.all([one.put(rows), two.put(rows)]);
    assert.deepEqual(
      rows.map((_, n) => [a[n], b[n]].toSorted().join()),
      rows.map(() => "same,stored"),
    );
    const halves = [rows.slice(0, 40), rows.slice(20)].map((part) =>
      part.map((row) => ({ ...row, message: { ...row.message, topic: "events" } })),
    );
    const [c, d] = await Promise.all([one.put(halves[0]!), two.put(halves[1]!)]);
    assert.equal([...c, ...d].filter((result) => result === "stored").length, MANY);
    const taken = await takeAll(await stage.lease(two));
    assert.equal(new Set(taken.map(({ message }) => `${message.topic}/${message.id}`)).size, 2 * MANY);
    assert.equal(taken.length, 2 * MANY);
  }),

  storeCase(
    "a row refused among many holds up its slot alone, and a person may replay or purge it",
    ["outbox"],
    async (stage) => {
      const outbox = await stage.outbox();
      const rows = many(stage, (n) => ({ slot: n % 4 }));
      await outbox.put(rows);
      const lease = await stage.lease(outbox);
      const first = await lease.take(10);
      await lease.park(first[6]!.place, refusal());
      await lease.park(first[3]!.place, refusal());
      await lease.end(ended([0, 1, 2, 4, 5, 8, 9].map((n) => first[n]!)));
      await lease.giveBack([{ place: first[7]!.place, doubtful: true }]);
      const free = rows.filter((row, n) => n >= 10 && row.slot! < 2);
      assert.deepEqual(rowIds(await takeAll(lease)), idsOf(free));
      assert.deepEqual(await outbox.stats(), { rows: MANY - 9, parked: 2, oldestAt: (await outbox.stats()).oldestAt });
      assert.deepEqual(
        (await outbox.parked(10))
          .map(({ row }) => [row.place, row.message.id])
          .toSorted(([a], [b]) => Number(a) - Number(b)),
        [3, 6].map((n) => [first[n]!.place, rows[n]!.message.id]),
      );
      assert.equal(await outbox.purge(first[3]!.place), true);
      const behind = await takeAll(lease);
      assert.deepEqual(
        behind.map((row) => [row.message.id, row.doubtful]),
        rows.filter((row, n) => n >= 7 && row.slot === 3).map((row, n) => [row.message.id, n === 0]),
      );
      assert.equal(await outbox.replay(first[6]!.place), true);
      const rest = await takeAll(lease);
      assert.deepEqual(rowIds(rest), idsOf(rows.filter((row, n) => n >= 6 && row.slot === 2)));
    },
  ),

  storeCase(
    "what is given back of many comes again as it was, and what is in doubt as that",
    ["outbox"],
    async (stage) => {
      const outbox = await stage.outbox();
      const rows = many(stage);
      await outbox.put(rows);
      const lease = await stage.lease(outbox);
      const first = await lease.take(30);
      await lease.giveBack(first.map(({ place }, n) => ({ place, doubtful: n === 4 || n === 20 })));
      const again = await lease.take(30);
      assert.deepEqual(
        again.map((row) => [row.message.id, row.doubtful]),
        rows.slice(0, 30).map((row, n) => [row.message.id, n === 4 || n === 20]),
      );
      await lease.giveBack(again);
      await stage.close(lease);
      const next = await stage.lease(outbox);
      assert.deepEqual(rowIds(await takeAll(next)), idsOf(rows));
      assert.deepEqual(stage.surfaced, []);
    },
  ),

  storeCase("of many rows those of a limited topic wait, and come in their order", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    const rows = many(
      stage,
      () => ({}),
      (n) => ({ topic: n % 2 === 0 ? "bad" : "good" }),
    );
    await outbox.put(rows);
    await outbox.put(rows.map((row) => ({ ...row, message: { ...row.message, id: `z${row.message.id}` } })));
    const lease = await stage.lease(outbox);
    lease.limit(new Map([["bad", 2]]));
    const first = await takeAll(lease);
    const bad = rowIds(first.filter(({ message }) => message.topic === "bad"));
    assert.deepEqual([bad, first.length], [idsOf([rows[0]!, rows[2]!]), MANY + 2]);
    await lease.end(ended(first));
    assert.deepEqual(rowIds(await takeAll(lease)), idsOf([rows[4]!, rows[6]!]));
    lease.limit(new Map());
    const rest = await takeAll(lease);
    const all = [...rows, ...rows.map((row) => ({ message: { ...row.message, id: `z${row.message.id}` } }))];
    assert.deepEqual(
      rowIds(rest),
      all.filter((_, n) => n % 2 === 0 && n > 6).map(({ message }) => message.id),
    );
  }),

  storeCase("many rows whose ids do not rise are stored in the order of the call", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    const rows = many(stage).toReversed();
    await outbox.put(
      many(
        stage,
        () => ({}),
        (n) => ({ id: `a${String(n).padStart(4, "0")}` }),
      ).slice(0, 20),
    );
    assert.deepEqual([...new Set(await outbox.put(rows))], ["stored"]);
    assert.deepEqual([...new Set(await outbox.put(rows.toReversed()))], ["same"]);
    const taken = await takeAll(await stage.lease(outbox));
    assert.deepEqual(rowIds(taken).slice(20), idsOf(rows));
    assert.ok(taken.every((row, n) => n === 0 || taken[n - 1]!.place < row.place));
  }),

  storeCase(
    "many rows put in a transaction are there if, and only if, it commits",
    ["inbox", "transactions"],
    async (stage) => {
      const { inbox, transactions } = await stage.effects();
      const rows = many(stage);
      const [good, bad] = [await fresh(inbox, inboxKey({ id: "good" })), await fresh(inbox, inboxKey({ id: "bad" }))];
      const thrown = new Error("no");
      const failing = transactions.run(bad, async (tx) => {
        assert.deepEqual([...new Set(await transactions.put(tx, rows))], ["stored"]);
        // Looked up among those, before they are undone.
        assert.deepEqual(await transactions.put(tx, rows.slice(3, 4)), ["same"]);
        throw thrown;
      });
      await assert.rejects(failing, (error) => error === thrown);
      assert.equal((await transactions.outbox.stats()).rows, 0);
      const others = many(
        stage,
        () => ({}),
        (n) => ({ id: `other-${String(n).padStart(4, "0")}` }),
      );
      await transactions.run(await fresh(inbox, inboxKey({ id: "others" })), async (tx) => {
        assert.deepEqual([...new Set(await transactions.put(tx, others))], ["stored"]);
        assert.deepEqual([...new Set(await transactions.put(tx, others))], ["same"]);
      });
      await transactions.run(good, async (tx) => {
        assert.deepEqual(await transactions.put(tx, rows.slice(0, 1)), ["stored"]);
        const results = await transactions.put(tx, rows.toReversed());
        assert.deepEqual(
          results.map((result) => result === "same"),
          rows.map((_, n) => n === MANY - 1),
        );
      });
      const lease = await stage.lease(transactions.outbox);
      assert.deepEqual(rowIds(await takeAll(lease)), idsOf([...others, rows[0]!, ...rows.slice(1).toReversed()]));
    },
  ),
];

function many(
  stage: StoreStage,
  row: (n: number) => Partial<Omit<NewRow, "message">> = () => ({}),
  message: (n: number) => Parameters<StoreStage["row"]>[1] = () => ({}),
): readonly NewRow[] {
  return Array.from({ length: MANY }, (_, n) =>
    stage.row(row(n), { id: `order-${String(n).padStart(4, "0")}`, ...message(n) }),
  );
}

function idsOf(rows: readonly NewRow[]): readonly string[] {
  return rows.map(({ message }) => message.id);
}

/** Some at a time, as a relay does, so that looks end anywhere. */
async function takeAll(lease: OutboxLease): Promise<readonly Row[]> {
  const all: Row[] = [];
  for (let rows = await lease.take(7); rows.length > 0; rows = await lease.take(7)) all.push(...rows);
  return all;
}
