import assert from "node:assert/strict";
import { TallyError } from "@tallymq/core/spi";
import { pause } from "../wait.ts";
import type { StoreCase } from "./case.ts";
import { ask, claimed, fresh, inboxKey, rowIds, storeCase } from "./stage.ts";

export const transactionCases: readonly StoreCase[] = [
  storeCase("an effect and its mark are there together", ["inbox", "transactions"], async (stage) => {
    const { inbox, transactions, write, lines } = await stage.effects();
    const claim = await fresh(inbox);
    const answer = await transactions.run(claim, async (tx) => {
      await write(tx, "paid");
      return 42;
    });
    assert.equal(answer, 42);
    assert.equal((await claimed(inbox)).state, "done");
    assert.deepEqual(await lines(), ["paid"]);
  }),

  storeCase("an effect that throws leaves nothing, and its claim can end", ["inbox", "transactions"], async (stage) => {
    const { inbox, transactions, write, lines } = await stage.effects();
    const claim = await fresh(inbox);
    const thrown = new Error("declined");
    const run = transactions.run(claim, async (tx) => {
      await write(tx, "half");
      throw thrown;
    });
    await assert.rejects(run, (error) => error === thrown);
    assert.equal(await inbox.end(claim, { is: "failed" }), true);
    assert.equal((await fresh(inbox)).attempt, 2);
    assert.deepEqual(await lines(), []);
  }),

  storeCase("a fenced effect writes nothing", ["inbox", "transactions"], async (stage) => {
    const { inbox, transactions, write, lines } = await stage.effects();
    const claim = await fresh(inbox, inboxKey(), 1_000);
    stage.advance(1_001);
    const second = await fresh(inbox);
    const late = transactions.run(claim, (tx) => write(tx, "late"));
    await assert.rejects(late, (error) => TallyError.is(error) && error.code === "fenced");
    await transactions.run(second, (tx) => write(tx, "second"));
    await assert.rejects(
      transactions.run(second, (tx) => write(tx, "again")),
      (error) => TallyError.is(error) && error.code === "fenced",
    );
    assert.deepEqual(await lines(), ["second"]);
  }),

  storeCase(
    "handlers at once: each effect once, those that fail alone undone",
    ["inbox", "transactions"],
    async (stage) => {
      const { inbox, transactions, write, lines } = await stage.effects();
      const keys = Array.from({ length: 300 }, (_, n) => ask({ id: `${n}` }));
      const claims = await inbox.claim(keys, 60_000);
      const runs = claims.map((claim, n) => {
        assert.equal(claim.state, "fresh");
        return transactions.run(claim as never, async (tx) => {
          await write(tx, `${n} a`);
          if (n % 7 === 3) throw new Error("no");
          await write(tx, `${n} b`);
        });
      });
      const settled = await Promise.allSettled(runs);
      const good = settled.flatMap((each, n) => (each.status === "fulfilled" ? [n] : []));
      assert.equal(good.length, 300 - 43);
      assert.deepEqual([...(await lines())].sort(), good.flatMap((n) => [`${n} a`, `${n} b`]).sort());
    },
  ),

  storeCase(
    "rows put with tx are sent if, and only if, the effect commits",
    ["inbox", "transactions"],
    async (stage) => {
      const { inbox, transactions, write } = await stage.effects();
      const [kept, gone] = [stage.row(), stage.row()];
      const good = await fresh(inbox, inboxKey({ id: "good" }));
      const bad = await fresh(inbox, inboxKey({ id: "bad" }));
      await transactions.run(good, async (tx) => {
        await write(tx, "effect");
        assert.deepEqual(await transactions.put(tx, [kept]), ["stored"]);
      });
      const failing = transactions.run(bad, async (tx) => {
        assert.deepEqual(await transactions.put(tx, [gone, kept]), ["stored", "same"]);
        throw new Error("no");
      });
      await assert.rejects(failing, /no/);
      const lease = await stage.lease(transactions.outbox);
      assert.deepEqual(rowIds(await lease.take(10)), [kept.message.id]);
      assert.equal((await transactions.outbox.stats()).rows, 1);
    },
  ),

  storeCase(
    "a put in a transaction is answered as any other, and its row counts when it is committed",
    ["inbox", "transactions"],
    async (stage) => {
      const { inbox, transactions } = await stage.effects();
      const { outbox } = transactions;
      const row = stage.row({ slot: 7 }, { id: "1", key: "k", ordered: true });
      const other = { ...row, message: { ...row.message, key: "another" } };
      await transactions.run(await fresh(inbox), async (tx) => {
        assert.deepEqual(await transactions.put(tx, [row]), ["stored"]);
        assert.deepEqual(await transactions.put(tx, [row, other]), ["same", "conflict"]);
      });
      assert.deepEqual(await outbox.put([row, other]), ["same", "conflict"]);
      assert.equal((await outbox.busySlots())[7], 1);
      const failing = transactions.run(await fresh(inbox, inboxKey({ id: "2" })), async (tx) => {
        assert.deepEqual(await transactions.put(tx, [stage.row({ slot: 8 })]), ["stored"]);
        throw new Error("no");
      });
      await assert.rejects(failing, /no/);
      assert.deepEqual([(await outbox.busySlots())[8], (await outbox.stats()).rows], [0, 1]);
    },
  ),

  storeCase("rows of transactions lie in the order of their commits", ["inbox", "transactions"], async (stage) => {
    const { inbox, transactions } = await stage.effects();
    const rows = Array.from({ length: 50 }, () => stage.row());
    const claims = await inbox.claim(
      rows.map((_, n) => ({ ...inboxKey({ id: `${n}` }), behind: null })),
      60_000,
    );
    const committed: string[] = [];
    await Promise.all(
      claims.map(async (claim, n) => {
        await transactions.run(claim as never, (tx) => transactions.put(tx, [rows[n]!]));
        committed.push(rows[n]!.message.id);
      }),
    );
    assert.deepEqual(rowIds(await (await stage.lease(transactions.outbox)).take(100)), committed);
  }),

  storeCase("a tx that is over takes nothing more", ["inbox", "transactions"], async (stage) => {
    const { inbox, transactions, write, lines } = await stage.effects();
    let kept: unknown;
    await transactions.run(await fresh(inbox), async (tx) => {
      kept = tx;
      await write(tx, "in time");
    });
    await assert.rejects(
      async () => await write(kept, "late"),
      (error) => TallyError.is(error) && error.code === "store",
    );
    await assert.rejects(
      transactions.put(kept, [stage.row()]),
      (error) => TallyError.is(error) && error.code === "store",
    );
    assert.deepEqual(await lines(), ["in time"]);
  }),

  storeCase(
    "claims and ends go on while a handler is at its turn, and are not undone with it",
    ["inbox", "transactions"],
    async (stage) => {
      const { inbox, transactions, write, lines } = await stage.effects();
      const turn = await fresh(inbox, inboxKey({ id: "turn" }));
      const other = await fresh(inbox, inboxKey({ id: "other" }));
      const started = Promise.withResolvers<void>();
      const run = transactions.run(turn, async (tx) => {
        await write(tx, "undone");
        started.resolve();
        await pause(20);
        throw new Error("no");
      });
      const failed = assert.rejects(run, /no/);
      await started.promise;
      const [third, end] = await Promise.all([
        claimed(inbox, inboxKey({ id: "third" })),
        inbox.end(other, { is: "done" }),
      ]);
      await failed;
      assert.deepEqual([third.state, end], ["fresh", true]);
      assert.equal((await claimed(inbox, inboxKey({ id: "other" }))).state, "done");
      assert.equal((await claimed(inbox, inboxKey({ id: "third" }))).state, "busy");
      assert.deepEqual(await lines(), []);
    },
  ),
];
