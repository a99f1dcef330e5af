import assert from "node:assert/strict";
import { pause } from "../wait.ts";
import type { StoreCase } from "./case.ts";
import { refusal } from "./outbox.ts";
import { ended, rowIds, storeCase } from "./stage.ts";

export const leaseCases: readonly StoreCase[] = [
  storeCase("take gives rows in order, none twice, until they are given back", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    const rows = Array.from({ length: 6 }, () => stage.row());
    await outbox.put(rows);
    const ids = rows.map((row) => row.message.id);
    const lease = await stage.lease(outbox);
    const first = await lease.take(4);
    assert.deepEqual(rowIds(first), ids.slice(0, 4));
    assert.deepEqual(rowIds(await lease.take(10)), ids.slice(4));
    assert.deepEqual(await lease.take(10), []);
    await lease.giveBack([first[2]!, first[1]!]);
    assert.deepEqual(rowIds(await lease.take(10)), [ids[1], ids[2]]);
  }),

  storeCase("rows that are not ended come again with the next lease", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    await outbox.put([stage.row(), stage.row(), stage.row()]);
    const lease = await stage.lease(outbox);
    const rows = await lease.take(3);
    await lease.end(ended([rows[1]!]));
    await stage.close(lease);
    const next = await stage.lease(outbox);
    assert.deepEqual(rowIds(await next.take(3)), [rows[0]!.message.id, rows[2]!.message.id]);
  }),

  storeCase(
    "what a lease was given and has neither ended nor given back is doubtful for the next, and nothing else is",
    ["outbox"],
    async (stage) => {
      const outbox = await stage.outbox();
      const [out, ended1, unsent, sent, other, later] = [
        stage.row(),
        stage.row(),
        stage.row(),
        stage.row(),
        stage.row({ destination: "elsewhere" }),
        stage.row(),
      ];
      await outbox.put([out, ended1, unsent, sent, other]);
      const lease = await stage.lease(outbox);
      const taken = await lease.take(10);
      assert.deepEqual(
        taken.map((row) => row.doubtful),
        [false, false, false, false],
      );
      await lease.end(ended([taken[1]!]));
      await lease.giveBack([
        { place: taken[2]!.place, doubtful: false },
        { place: taken[3]!.place, doubtful: true },
      ]);
      const again = await lease.take(10);
      assert.deepEqual(
        again.map((row) => [row.message.id, row.doubtful]),
        [
          [unsent.message.id, false],
          [sent.message.id, true],
        ],
      );
      await lease.giveBack(again);
      await stage.close(lease);
      await outbox.put([later]);
      const next = await stage.lease(outbox, ["broker", "elsewhere"]);
      const doubtful = new Map((await next.take(10)).map((row) => [row.message.id, row.doubtful]));
      assert.equal(doubtful.get(out.message.id), true, "expected what was out to be doubtful");
      assert.equal(doubtful.get(sent.message.id), true, "expected what was given back as doubtful to stay so");
      assert.equal(doubtful.get(other.message.id), false, "expected what no lease was given to be in no doubt");
      assert.equal(doubtful.get(later.message.id), false, "expected what was put since to be in no doubt");
      assert.equal(doubtful.size, 5);
    },
  ),

  storeCase("what is doubtful stays so over a lease that was not given it", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    await outbox.put([stage.row()]);
    const first = await stage.lease(outbox);
    await first.take(1);
    await stage.close(first);
    await stage.close(await stage.lease(outbox));
    assert.deepEqual(
      (await (await stage.lease(outbox)).take(1)).map((row) => row.doubtful),
      [true],
    );
  }),

  storeCase("what was given back in order is in no doubt for the next lease", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    await outbox.put([stage.row(), stage.row()]);
    const lease = await stage.lease(outbox);
    await lease.giveBack(await lease.take(2));
    await stage.close(lease);
    const next = await stage.lease(outbox);
    assert.deepEqual(
      (await next.take(2)).map((row) => row.doubtful),
      [false, false],
    );
  }),

  storeCase("a lease gives the rows of its destinations only", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    const [here, there] = [stage.row({ destination: "a" }), stage.row({ destination: "b" })];
    await outbox.put([here, there]);
    const [a, b] = [await stage.lease(outbox, ["a"]), await stage.lease(outbox, ["b"])];
    assert.deepEqual(rowIds(await a.take(10)), [here.message.id]);
    assert.deepEqual(rowIds(await b.take(10)), [there.message.id]);
  }),

  storeCase("one holder among all who have the store open", ["outbox"], async (stage) => {
    const [one, two] = [await stage.outbox(), await stage.outbox()];
    const first = await stage.lease(one);
    let second = false;
    const waiting = two
      .lease(["other", "broker"], () => {}, AbortSignal.timeout(stage.rig.limitMs))
      .then((lease) => {
        second = true;
        return lease;
      });
    await pause(150);
    assert.equal(second, false, "expected the second to wait");
    await stage.close(first);
    await (await waiting)[Symbol.asyncDispose]();
  }),

  storeCase("whoever waits for a lease is let go by the signal", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    await stage.lease(outbox);
    const reason = new Error("enough");
    const abort = new AbortController();
    const waiting = outbox.lease(["broker"], () => {}, abort.signal);
    setTimeout(() => abort.abort(reason), 40);
    await assert.rejects(waiting, (error) => error === reason);
  }),

  storeCase("rows that another process puts are relayed", ["outbox"], async (stage) => {
    const [one, two] = [await stage.outbox(), await stage.outbox()];
    const lease = await stage.lease(one);
    assert.deepEqual(await lease.take(10), []);
    const row = stage.row();
    await two.put([row]);
    assert.deepEqual(await one.put([row]), ["same"], "an identity is one among all processes");
    assert.deepEqual(rowIds(await lease.take(10)), [row.message.id]);
  }),

  storeCase("three writers: each row once, places in the order of each writer", ["outbox"], async (stage) => {
    const stores = [await stage.outbox(), await stage.outbox(), await stage.outbox()];
    const rows = stores.map((_, writer) =>
      Array.from({ length: 200 }, (__, n) => stage.row({}, { id: `${writer}-${n}` })),
    );
    await Promise.all(
      stores.map(async (store, writer) => {
        for (let at = 0; at < 200; at += 10)
          assert.deepEqual(
            await store.put(rows[writer]!.slice(at, at + 10)),
            Array.from({ length: 10 }, () => "stored"),
          );
      }),
    );
    const taken = await (await stage.lease(stores[1]!)).take(10_000);
    assert.equal(new Set(taken.map((row) => row.place)).size, 600);
    for (const writer of [0, 1, 2])
      assert.deepEqual(
        rowIds(taken).filter((id) => id.startsWith(`${writer}-`)),
        rows[writer]!.map((row) => row.message.id),
      );
  }),

  storeCase("a parked row is kept with its reason, and holds up its slot alone", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    const rows = [stage.row({ slot: 1 }), stage.row({ slot: 1 }), stage.row({ slot: 2 }), stage.row({ slot: null })];
    await outbox.put(rows);
    const lease = await stage.lease(outbox);
    const [head] = await lease.take(1);
    await lease.park(head!.place, refusal());
    assert.deepEqual(rowIds(await lease.take(10)), [rows[2]!.message.id, rows[3]!.message.id]);
    const [parked] = await outbox.parked(10);
    assert.deepEqual(
      [parked!.row.message.id, parked!.code, parked!.row.place],
      [rows[0]!.message.id, "refused", head!.place],
    );
    assert.match(parked!.reason, /too large for the broker/);
    assert.ok(parked!.parkedAt >= parked!.row.storedAt);
  }),

  storeCase("a parked row stays parked when the store is opened again", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    await outbox.put([stage.row({ slot: 1 }), stage.row({ slot: 1 })]);
    const lease = await stage.lease(outbox);
    await lease.park((await lease.take(1))[0]!.place, refusal());
    await stage.close(lease);
    await stage.close(outbox);
    const again = await stage.outbox();
    assert.deepEqual(await (await stage.lease(again)).take(10), []);
    assert.equal((await again.parked(10)).length, 1);
  }),

  storeCase("a replayed row goes before all that waited behind it", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    const rows = [stage.row({ slot: 1 }), stage.row({ slot: 1 }), stage.row({ slot: 1 })];
    await outbox.put(rows);
    const lease = await stage.lease(outbox);
    const [head] = await lease.take(1);
    await lease.park(head!.place, refusal());
    assert.deepEqual(await lease.take(10), []);
    assert.equal(await outbox.replay(head!.place), true);
    assert.equal(await outbox.replay(head!.place), false);
    assert.deepEqual(
      rowIds(await lease.take(10)),
      rows.map((row) => row.message.id),
    );
  }),

  storeCase("a replayed row is as old as its replay", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    await outbox.put([stage.row({ doubtful: true, dedupeForMs: 60_000 })]);
    const lease = await stage.lease(outbox);
    const [row] = await lease.take(1);
    await lease.park(row!.place, refusal());
    stage.advance(3_600_000);
    await outbox.replay(row!.place);
    const [again] = await lease.take(1);
    assert.ok(again!.storedAt - row!.storedAt >= 3_600_000, "expected a person's replay to renew the row");
    assert.deepEqual([again!.place, again!.doubtful, again!.dedupeForMs], [row!.place, true, 60_000]);
  }),

  storeCase(
    "of a limited topic so many rows are out at most, and the rest comes in its order",
    ["outbox"],
    async (stage) => {
      const outbox = await stage.outbox();
      const rows = ["bad", "bad", "good", "bad", "good"].map((topic, n) =>
        stage.row({}, { topic, id: `${topic}-${n}` }),
      );
      await outbox.put(rows);
      const lease = await stage.lease(outbox);
      lease.limit(new Map([["bad", 0]]));
      assert.deepEqual(rowIds(await lease.take(10)), ["good-2", "good-4"]);
      lease.limit(new Map([["bad", 1]]));
      const [probe, ...others] = await lease.take(10);
      assert.deepEqual([probe?.message.id, others.length], ["bad-0", 0]);
      assert.deepEqual(rowIds(await lease.take(10)), [], "expected no second one while the first is out");
      await lease.giveBack([probe!]);
      const [again] = await lease.take(10);
      assert.equal(again?.message.id, "bad-0", "expected the same one, which stands before the rest");
      await lease.end(ended([again!]));
      const [next] = await lease.take(1);
      assert.equal(next?.message.id, "bad-1");
      await outbox.put([stage.row({}, { topic: "bad", id: "bad-5" }), stage.row({}, { topic: "good", id: "good-6" })]);
      assert.deepEqual(rowIds(await lease.take(10)), ["good-6"]);
      lease.limit(new Map());
      assert.deepEqual(rowIds(await lease.take(1)), ["bad-3"]);
      assert.deepEqual(rowIds(await lease.take(10)), ["bad-5"]);
      assert.deepEqual(rowIds(await lease.take(10)), []);
    },
  ),

  storeCase("a purged row is gone, and what waited behind it goes on", ["outbox"], async (stage) => {
    const [outbox, other] = [await stage.outbox(), await stage.outbox()];
    const rows = [stage.row({ slot: 1 }), stage.row({ slot: 1 })];
    await outbox.put(rows);
    const lease = await stage.lease(outbox);
    const [head] = await lease.take(1);
    await lease.park(head!.place, refusal());
    assert.deepEqual(await lease.take(10), []);
    // By a person at another process.
    assert.equal(await other.purge(head!.place), true);
    assert.equal(await other.purge(head!.place), false);
    assert.deepEqual(rowIds(await lease.take(10)), [rows[1]!.message.id]);
    assert.deepEqual(await outbox.parked(10), []);
    assert.equal((await outbox.stats()).rows, 1);
  }),

  storeCase("only parked rows can be purged or replayed", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    await outbox.put([stage.row()]);
    const lease = await stage.lease(outbox);
    const [row] = await lease.take(1);
    assert.deepEqual(
      [await outbox.purge(row!.place), await outbox.replay(row!.place), await outbox.purge(10_000)],
      [false, false, false],
    );
    assert.equal((await outbox.stats()).rows, 1);
  }),
];
