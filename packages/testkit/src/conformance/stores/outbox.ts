import assert from "node:assert/strict";
import { FENCE_SLOTS, TallyError } from "@tallymq/core/spi";
import { noise } from "../messages.ts";
import type { StoreCase } from "./case.ts";
import { ended, rowIds, storeCase } from "./stage.ts";

export const outboxCases: readonly StoreCase[] = [
  storeCase("a row comes back as it was put, in full", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    const given = stage.row(
      { slot: 65_535, doubtful: true, lane: 3, dedupeForMs: 400 * 86_400_000 },
      {
        id: "ïd-\u{1F4E6}",
        key: "kéy",
        ordered: true,
        type: "placed",
        contentType: "application/json",
        contentEncoding: "gzip",
        attempt: 3,
        correlationId: "c",
        causationId: "d",
        headers: { traceparent: "00-1", "x-ü": "é" },
        body: noise(5_000),
        native: { exchange: "e", priority: 3, when: new Date(5), bytes: Uint8Array.of(1, 2) },
        delayMs: 24 * 86_400_000,
      },
    );
    const plain = stage.row({}, { key: null, body: new Uint8Array(0) });
    const later = stage.row({}, { key: null, delayMs: 1 });
    assert.deepEqual(await outbox.put([given, plain, later]), ["stored", "stored", "stored"]);
    const rows = await (await stage.lease(outbox)).take(10);
    for (const [index, put] of [given, plain, later].entries()) {
      const { place, storedAt, message, ...rest } = rows[index]!;
      assert.ok(Number.isSafeInteger(place) && storedAt > 0);
      const { message: sent, ...expected } = put;
      assert.deepEqual(rest, expected);
      assert.deepEqual(
        {
          ...message,
          native:
            message.native === null ? null : { ...message.native, bytes: [...(message.native["bytes"] as Uint8Array)] },
        },
        { ...sent, native: sent.native === null ? null : { ...sent.native, bytes: [1, 2] } },
      );
    }
  }),

  storeCase("what was stored is there when the store is opened again", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    const rows = Array.from({ length: 100 }, () => stage.row());
    await Promise.all(rows.map((row) => outbox.put([row])));
    await stage.close(outbox);
    const again = await stage.outbox();
    assert.deepEqual(
      rowIds(await (await stage.lease(again)).take(1_000)),
      rows.map((row) => row.message.id),
    );
    assert.equal((await again.stats()).rows, 100);
  }),

  storeCase("places rise in the order of put and are never used twice", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    const lease = await stage.lease(outbox);
    await outbox.put([stage.row(), stage.row()]);
    const first = await lease.take(10);
    await lease.end(ended(first));
    await outbox.put([stage.row()]);
    const [second] = await lease.take(10);
    assert.ok(first[0]!.place < first[1]!.place && first[1]!.place < second!.place);
  }),

  storeCase(
    "each row of a large batch has its own answer, and those stored keep their order",
    ["outbox"],
    async (stage) => {
      const outbox = await stage.outbox();
      const rows = Array.from({ length: 40 }, (_, n) => stage.row({}, { id: `order-${n}` }));
      assert.deepEqual(await outbox.put([rows[3]!, rows[20]!]), ["stored", "stored"]);
      const elsewhere = stage.row({}, { id: "order-5", topic: "elsewhere" });
      const other = { ...rows[20]!, message: { ...rows[20]!.message, body: noise(3) } };
      const batch = [...rows.slice(0, 12), rows[7]!, elsewhere, ...rows.slice(12, 20), other, ...rows.slice(21)];
      const expected = batch.map((row, at) =>
        row === other ? "conflict" : row === rows[3] || (row === rows[7] && at === 12) ? "same" : "stored",
      );
      assert.deepEqual(await outbox.put(batch), expected);
      const stored = batch.filter((_, at) => expected[at] === "stored").map(({ message }) => message);
      const taken = await (await stage.lease(outbox)).take(100);
      assert.deepEqual(
        taken.slice(2).map(({ message }) => `${message.topic}/${message.id}`),
        stored.map(({ topic, id }) => `${topic}/${id}`),
      );
      assert.equal((await outbox.stats()).rows, stored.length + 2);
    },
  ),

  storeCase("an identity is stored once, and another body or key is a conflict", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    const row = stage.row({}, { id: "order-1", key: "k" });
    const { message } = row;
    assert.deepEqual(await outbox.put([row]), ["stored"]);
    assert.deepEqual(await outbox.put([row, { ...row, message: { ...message, seq: 99, run: "another" } }]), [
      "same",
      "same",
    ]);
    assert.deepEqual(await outbox.put([{ ...row, message: { ...message, body: noise(3) } }]), ["conflict"]);
    assert.deepEqual(await outbox.put([{ ...row, message: { ...message, key: "other" } }]), ["conflict"]);
    assert.deepEqual(await outbox.put([{ ...row, message: { ...message, key: null } }]), ["conflict"]);
    assert.equal((await outbox.stats()).rows, 1);
  }),

  storeCase("the same id elsewhere is another identity", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    const row = stage.row({}, { id: "1" });
    const { message } = row;
    const others = [
      { ...row, destination: "other" },
      { ...row, message: { ...message, topic: "events" } },
      { ...row, message: { ...message, producer: "till" } },
      row,
    ];
    assert.deepEqual(await outbox.put(others), ["stored", "stored", "stored", "stored"]);
    assert.deepEqual(await outbox.put(others), ["same", "same", "same", "same"]);
  }),

  storeCase("identities are compared as bytes", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    // Equal after Unicode normalisation, after case folding, after trimming, or up to a NUL.
    const ids = ["é", "e\u0301", "a", "A", "a ", "a\0b", "a\0c", "'; DROP TABLE tally_rows; --", "../x"];
    const rows = ids.map((id) => stage.row({}, { id }));
    assert.deepEqual(
      await outbox.put(rows),
      ids.map(() => "stored"),
    );
    assert.deepEqual(rowIds(await (await stage.lease(outbox)).take(100)), ids);
  }),

  storeCase("each row is answered by itself, also twice in one call", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    const row = stage.row({}, { id: "twice" });
    const other = { ...row, message: { ...row.message, body: noise(9) } };
    assert.deepEqual(await outbox.put([row, row, other, stage.row()]), ["stored", "same", "conflict", "stored"]);
    assert.deepEqual(await outbox.put([]), []);
  }),

  storeCase("an identity may be stored again when its row has ended", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    const lease = await stage.lease(outbox);
    const row = stage.row();
    await outbox.put([row]);
    await lease.end(ended(await lease.take(1)));
    assert.deepEqual(await outbox.put([row]), ["stored"]);
  }),

  storeCase("busy slots count waiting and parked rows", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    await outbox.put([
      stage.row({ slot: 0 }),
      stage.row({ slot: 7 }),
      stage.row({ slot: 7 }),
      stage.row({ slot: null }),
    ]);
    const lease = await stage.lease(outbox);
    const [first, second] = await lease.take(2);
    await lease.park(first!.place, refusal());
    await lease.end(ended([second!]));
    const slots = await outbox.busySlots();
    assert.equal(slots.length, FENCE_SLOTS);
    assert.deepEqual([slots[0], slots[7], slots.reduce((sum, n) => sum + n, 0)], [1, 1, 2]);
  }),

  storeCase("stats tell waiting rows from parked ones, and the oldest", ["outbox"], async (stage) => {
    const outbox = await stage.outbox();
    assert.deepEqual(await outbox.stats(), { rows: 0, parked: 0, oldestAt: null });
    await outbox.put([stage.row()]);
    stage.advance(60_000);
    await outbox.put([stage.row()]);
    const lease = await stage.lease(outbox);
    const [first, second] = await lease.take(2);
    assert.deepEqual(await outbox.stats(), { rows: 2, parked: 0, oldestAt: first!.storedAt });
    await lease.park(first!.place, refusal());
    assert.deepEqual(await outbox.stats(), { rows: 1, parked: 1, oldestAt: second!.storedAt });
    assert.ok(second!.storedAt - first!.storedAt >= 60_000);
  }),

  storeCase(
    "at the bound rows are full, nothing of them is kept, and deleting makes room",
    ["bound"],
    async (stage) => {
      const outbox = await stage.boundOutbox();
      const results: string[] = [];
      const row = () => stage.row({}, { body: noise(20_000) });
      while (!results.includes("full") && results.length < 5_000)
        results.push(...(await outbox.put(Array.from({ length: 50 }, row))));
      const stored = results.filter((result) => result === "stored").length;
      assert.deepEqual([...new Set(results)].sort(), ["full", "stored"]);
      assert.equal((await outbox.stats()).rows, stored);
      const refused = row();
      assert.deepEqual(await outbox.put([refused]), ["full"]);
      const lease = await stage.lease(outbox);
      let taken = await lease.take(1_000);
      await lease.park(taken[0]!.place, refusal());
      taken = taken.slice(1);
      for (; taken.length > 0; taken = await lease.take(1_000)) await lease.end(ended(taken));
      assert.deepEqual(await outbox.put([refused]), ["stored"]);
      assert.deepEqual(await outbox.stats(), { rows: 1, parked: 1, oldestAt: (await outbox.stats()).oldestAt });
    },
  ),
];

export function refusal(): TallyError {
  return new TallyError("refused", "too large for the broker");
}
