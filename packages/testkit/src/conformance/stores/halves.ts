// One thing: what a store of half messages must do, case after case.
import assert from "node:assert/strict";
import type { HalfOwner, HalfStore, NewHalf, OutboxStore, StoredHalf } from "@tallymq/core/spi";
import { noise } from "../messages.ts";
import type { StoreCase } from "./case.ts";
import { ended, rowIds, storeCase, type StoreStage } from "./stage.ts";

const LEASE = 10_000;
const owner: HalfOwner = { destination: "broker", producer: "shop", name: "payment" };

export const halfCases: readonly StoreCase[] = [
  storeCase("a half message is no row: nobody relays it, nothing is fenced by it", ["halves"], async (stage) => {
    const { outbox, halves } = await opened(stage);
    assert.deepEqual(await halves.prepare(half(stage, { slot: 7 }), LEASE), { is: "prepared", place: 1, fence: 1 });
    assert.deepEqual(await (await stage.lease(outbox)).take(10), []);
    assert.equal((await outbox.busySlots())[7], 0);
    assert.equal((await outbox.stats()).rows, 0);
    const { undecided, parked, oldestAt } = await halves.stats();
    assert.deepEqual([undecided, parked], [1, 0]);
    assert.ok(oldestAt !== null && oldestAt > 0);
  }),

  storeCase("one that is committed becomes a row, whole, behind those that are there", ["halves"], async (stage) => {
    const { outbox, halves } = await opened(stage);
    const given = half(
      stage,
      { slot: 9, dedupeForMs: 60_000 },
      { key: "kéy", ordered: true, headers: { traceparent: "00-1" }, native: { priority: 3 }, body: noise(3_000) },
    );
    const { place } = await prepared(halves, given);
    const before = stage.row();
    await outbox.put([before]);
    assert.deepEqual(await halves.decide(place, "commit", true), { decision: "commit", released: true });
    const rows = await (await stage.lease(outbox)).take(10);
    assert.deepEqual(rowIds(rows), [before.message.id, given.row.message.id]);
    const { place: _place, storedAt: _storedAt, ...row } = rows[1]!;
    assert.deepEqual({ ...row, message: { ...row.message } }, given.row);
    assert.equal((await outbox.busySlots())[9], 1);
    assert.deepEqual(await halves.stats(), { undecided: 0, parked: 0, oldestAt: null });
  }),

  storeCase("a commit is durable before its row is: released later, once", ["halves"], async (stage) => {
    const { outbox, halves } = await opened(stage);
    const given = half(stage);
    const { place } = await prepared(halves, given);
    assert.deepEqual(await halves.decide(place, "commit", false), { decision: "commit", released: false });
    await stage.close(outbox);
    const again = await opened(stage);
    stage.advance(LEASE + 1);
    const [due] = await again.halves.due(owner, LEASE, 10);
    assert.deepEqual([due?.place, due?.state, due?.row.message.id], [place, "committed", given.row.message.id]);
    assert.deepEqual(await (await stage.lease(again.outbox)).take(10), []);
    assert.equal(await again.halves.release(place), "stored");
    assert.equal(await again.halves.release(place), "same");
    assert.equal((await again.outbox.stats()).rows, 1);
    stage.advance(LEASE + 1);
    assert.deepEqual(await again.halves.due(owner, LEASE, 10), []);
  }),

  storeCase(
    "committed ones are given in the order of their commits, and none before one of its key that somebody is at",
    ["halves"],
    async (stage) => {
      const { halves } = await opened(stage);
      const make = async (slot: number): Promise<{ readonly place: number; readonly fence: number }> =>
        await prepared(halves, half(stage, { slot }, { key: `k${slot}`, ordered: true }));
      const [first, second, other] = [await make(7), await make(7), await make(8)];
      for (const { place } of [second, first, other])
        assert.deepEqual(await halves.decide(place, "commit", false), { decision: "commit", released: false });
      stage.advance(LEASE / 2);
      // As its holder does that is alive: the others' run out before its own.
      assert.equal(await halves.renew(second.place, second.fence, LEASE), true);
      stage.advance(LEASE / 2 + 1);
      const places = async (): Promise<readonly number[]> =>
        (await halves.due(owner, LEASE, 10)).map(({ place }) => place);
      assert.deepEqual(await places(), [other.place]);
      stage.advance(LEASE / 2);
      assert.deepEqual(await places(), [second.place, first.place]);
    },
  ),

  storeCase("the first decision stays, whoever makes it", ["halves"], async (stage) => {
    const { outbox, halves } = await opened(stage);
    const [kept, gone] = [half(stage), half(stage)];
    const [a, b] = [await prepared(halves, kept), await prepared(halves, gone)];
    await halves.decide(a.place, "commit", true);
    assert.deepEqual(await halves.decide(a.place, "rollback", true), { decision: "commit", released: true });
    assert.deepEqual(await halves.decide(b.place, "rollback", true), { decision: "rollback", released: false });
    assert.deepEqual(await halves.decide(b.place, "commit", true), { decision: "rollback", released: false });
    assert.deepEqual(rowIds(await (await stage.lease(outbox)).take(10)), [kept.row.message.id]);
    assert.equal(await halves.decide(4_711, "commit", true), null);
  }),

  storeCase(
    "who prepares again is answered from the record, also when the row is long gone",
    ["halves"],
    async (stage) => {
      const { outbox, halves } = await opened(stage);
      const [kept, gone] = [half(stage, {}, { key: "k" }), half(stage)];
      const { place } = await prepared(halves, kept);
      const busy = await halves.prepare(kept, LEASE);
      assert.ok(busy.is === "busy" && busy.leftMs > 0 && busy.leftMs <= LEASE);
      await halves.decide(place, "commit", true);
      await halves.decide((await prepared(halves, gone)).place, "rollback", true);
      const lease = await stage.lease(outbox);
      await lease.end(ended(await lease.take(10)));
      stage.advance(86_400_000);
      const answers = [kept, gone, { ...kept, name: "other" }, body(kept), key(kept)];
      const is: string[] = [];
      for (const each of answers) is.push((await halves.prepare(each, LEASE)).is);
      assert.deepEqual(is, ["committed", "rolledBack", "conflict", "conflict", "conflict"]);
      assert.equal((await outbox.stats()).rows, 0);
    },
  ),

  storeCase("an old decision is forgotten, and not before its message may come again", ["halves"], async (stage) => {
    const { halves } = await opened(stage);
    const given = half(stage, { dedupeForMs: 3_600_000 });
    await halves.decide((await prepared(halves, given)).place, "rollback", true);
    stage.advance(3_500_000);
    await prepared(halves, half(stage));
    assert.equal((await halves.prepare(given, LEASE)).is, "rolledBack");
    stage.advance(200_000);
    await prepared(halves, half(stage));
    assert.equal((await halves.prepare(given, LEASE)).is, "prepared");
  }),

  storeCase(
    "nobody is given one that somebody is at; when the lease is over one is, and one alone",
    ["halves"],
    async (stage) => {
      const [one, two] = [await opened(stage), await opened(stage)];
      const given = half(stage);
      const { place, fence } = await prepared(one.halves, given);
      stage.advance(LEASE - 1_000);
      assert.deepEqual(await two.halves.due(owner, LEASE, 10), []);
      assert.equal(await one.halves.renew(place, fence, LEASE), true);
      stage.advance(LEASE - 1_000);
      assert.deepEqual(await two.halves.due(owner, LEASE, 10), []);
      stage.advance(1_001);
      const taken = (await Promise.all([one.halves.due(owner, LEASE, 10), two.halves.due(owner, LEASE, 10)])).flat();
      assert.equal(taken.length, 1);
      const [due] = taken as [StoredHalf];
      assert.deepEqual([due.place, due.state, due.checks, due.parkedAt], [place, "undecided", 1, null]);
      assert.equal(due.row.message.id, given.row.message.id);
      assert.ok(due.fence > fence);
      assert.equal(await one.halves.renew(place, fence, LEASE), false, "expected the first holder to be fenced");
      assert.equal(await one.halves.park(place, fence, "too late"), false);
      // A holder that gives it back for a while keeps everybody from it for so long.
      assert.equal(await two.halves.renew(place, due.fence, 60_000), true);
      stage.advance(59_000);
      assert.deepEqual(await one.halves.due(owner, LEASE, 10), []);
      stage.advance(1_001);
      assert.equal((await one.halves.due(owner, LEASE, 10))[0]?.checks, 2);
      assert.deepEqual(await one.halves.decide(place, "commit", true), { decision: "commit", released: true });
    },
  ),

  storeCase("who prepares again an undecided one that nobody is at has it to check", ["halves"], async (stage) => {
    const { halves } = await opened(stage);
    const given = half(stage);
    await prepared(halves, given);
    stage.advance(LEASE + 1);
    const again = await halves.prepare(
      { ...given, row: { ...given.row, message: { ...given.row.message, seq: 9 } } },
      LEASE,
    );
    assert.ok(again.is === "undecided");
    assert.deepEqual([again.half.checks, again.half.row.message.seq], [1, given.row.message.seq]);
    assert.deepEqual(await halves.due(owner, LEASE, 10), []);
  }),

  storeCase("each owner has its own", ["halves"], async (stage) => {
    const { halves } = await opened(stage);
    await prepared(halves, half(stage));
    stage.advance(LEASE + 1);
    for (const other of [{ name: "other" }, { producer: "till" }, { destination: "elsewhere" }])
      assert.deepEqual(await halves.due({ ...owner, ...other }, LEASE, 10), []);
    assert.equal((await halves.due(owner, LEASE, 10)).length, 1);
  }),

  storeCase("at most so many are given", ["halves"], async (stage) => {
    const { halves } = await opened(stage);
    for (let n = 0; n < 5; n++) await prepared(halves, half(stage));
    stage.advance(LEASE + 1);
    assert.equal((await halves.due(owner, LEASE, 3)).length, 3);
    assert.equal((await halves.due(owner, LEASE, 3)).length, 2);
  }),

  storeCase(
    "a parked one is given to nobody, is listed with its reason, and can still be decided",
    ["halves"],
    async (stage) => {
      const { outbox, halves } = await opened(stage);
      const [given, other] = [half(stage), half(stage)];
      const { place, fence } = await prepared(halves, given);
      await prepared(halves, other);
      assert.equal(await halves.park(place, fence, "nobody knows"), true);
      assert.equal(await halves.park(place, fence, "again"), false);
      stage.advance(LEASE + 1);
      await stage.close(outbox);
      const again = await opened(stage);
      assert.deepEqual(
        (await again.halves.due(owner, LEASE, 10)).map((each) => each.row.message.id),
        [other.row.message.id],
      );
      const [parked] = await again.halves.list(owner, 10);
      assert.deepEqual([parked?.row.message.id, parked?.reason], [given.row.message.id, "nobody knows"]);
      assert.ok(parked?.parkedAt !== null && (parked?.parkedAt ?? 0) >= (parked?.preparedAt ?? 0));
      const { undecided, parked: count } = await again.halves.stats();
      assert.deepEqual([undecided, count], [1, 1]);
      const found = await again.halves.find(owner, given.row.message.topic, given.row.message.id);
      assert.equal(found?.place, place);
      assert.equal(
        await again.halves.find({ ...owner, name: "other" }, given.row.message.topic, given.row.message.id),
        null,
      );
      assert.deepEqual(await again.halves.decide(place, "commit", true), { decision: "commit", released: true });
      assert.deepEqual(rowIds(await (await stage.lease(again.outbox)).take(10)), [given.row.message.id]);
    },
  ),

  storeCase("a committed one that the broker has needs no row", ["halves"], async (stage) => {
    const { outbox, halves } = await opened(stage);
    const [kept, undecided] = [half(stage), half(stage)];
    const { place } = await prepared(halves, kept);
    const other = await prepared(halves, undecided);
    assert.deepEqual(await halves.decide(place, "commit", false), { decision: "commit", released: false });
    assert.equal(await halves.settle(place), true);
    assert.equal(await halves.settle(place), false);
    assert.equal(await halves.settle(other.place), false, "expected one without a decision to stay");
    assert.equal(await halves.release(place), "same");
    stage.advance(LEASE + 1);
    assert.deepEqual(
      (await halves.due(owner, LEASE, 10)).map((each) => each.place),
      [other.place],
    );
    assert.equal((await outbox.stats()).rows, 0);
    assert.equal((await halves.prepare(kept, LEASE)).is, "committed");
  }),

  storeCase("one that is withdrawn has never been; nobody but its holder withdraws it", ["halves"], async (stage) => {
    const { halves } = await opened(stage);
    const given = half(stage);
    const { place, fence } = await prepared(halves, given);
    assert.equal(await halves.withdraw(place, fence + 1), false);
    assert.equal(await halves.withdraw(place, fence), true);
    assert.equal(await halves.find(owner, given.row.message.topic, given.row.message.id), null);
    const again = await prepared(halves, body(given));
    assert.ok(again.place > place, "expected a place that was never used");
    await halves.decide(again.place, "commit", false);
    assert.equal(await halves.withdraw(again.place, again.fence), false);
  }),

  storeCase(
    "one is found by its identity, with its state, and whether somebody is at it",
    ["halves"],
    async (stage) => {
      const { halves } = await opened(stage);
      const [a, b] = [half(stage), half(stage)];
      const find = async (of: NewHalf): Promise<readonly unknown[]> => {
        const found = await halves.find(owner, of.row.message.topic, of.row.message.id);
        return [found?.state, found?.free];
      };
      const { place } = await prepared(halves, a);
      assert.deepEqual(await find(a), ["undecided", false]);
      stage.advance(LEASE + 1);
      assert.deepEqual(await find(a), ["undecided", true]);
      await halves.decide(place, "commit", false);
      assert.equal((await find(a))[0], "committed");
      await halves.release(place);
      assert.equal((await find(a))[0], "released");
      await halves.decide((await prepared(halves, b)).place, "rollback", false);
      assert.equal((await find(b))[0], "rolledBack");
    },
  ),

  storeCase(
    "a committed one beside another row of its id: the same is one, another body parks it",
    ["halves"],
    async (stage) => {
      const { outbox, halves } = await opened(stage);
      const [same, other] = [half(stage), half(stage)];
      await outbox.put([same.row, body(other).row]);
      const [a, b] = [await prepared(halves, same), await prepared(halves, other)];
      assert.deepEqual(await halves.decide(a.place, "commit", true), { decision: "commit", released: true });
      assert.deepEqual(await halves.decide(b.place, "commit", true), { decision: "commit", released: false });
      assert.equal(await halves.release(b.place), "conflict");
      assert.equal((await outbox.stats()).rows, 2);
      const [parked] = await halves.list(owner, 10);
      assert.match(parked?.reason ?? "", /another body/);
    },
  ),

  storeCase(
    "at the bound a half message is full, and what is committed is released all the same",
    ["halves", "bound"],
    async (stage) => {
      const outbox = await stage.boundOutbox();
      const { halves } = outbox;
      assert.ok(halves !== null);
      const places: number[] = [];
      let last: string = "";
      while (last !== "full" && places.length < 2_000) {
        const answer = await halves.prepare(half(stage, {}, { body: noise(20_000) }), LEASE);
        last = answer.is;
        if (answer.is === "prepared") places.push(answer.place);
      }
      assert.equal(last, "full");
      assert.equal((await halves.stats()).undecided, places.length);
      const lease = await stage.lease(outbox);
      for (const place of places) {
        const decided = await halves.decide(place, "commit", true);
        assert.equal(decided?.decision, "commit");
        await lease.end(ended(await lease.take(10)));
        if (!decided.released) assert.equal(await halves.release(place), "stored");
        await lease.end(ended(await lease.take(10)));
      }
      assert.deepEqual(await halves.stats(), { undecided: 0, parked: 0, oldestAt: null });
      assert.equal((await halves.prepare(half(stage, {}, { body: noise(20_000) }), LEASE)).is, "prepared");
    },
  ),
];

async function opened(stage: StoreStage): Promise<{ readonly outbox: OutboxStore; readonly halves: HalfStore }> {
  const outbox = await stage.outbox();
  assert.ok(outbox.halves !== null, "expected a store of half messages");
  return { outbox, halves: outbox.halves };
}

function half(stage: StoreStage, ...of: Parameters<StoreStage["row"]>): NewHalf {
  return { name: owner.name, row: stage.row(...of) };
}

function body(of: NewHalf): NewHalf {
  return { ...of, row: { ...of.row, message: { ...of.row.message, body: noise(7) } } };
}

function key(of: NewHalf): NewHalf {
  return { ...of, row: { ...of.row, message: { ...of.row.message, key: "another" } } };
}

async function prepared(halves: HalfStore, of: NewHalf): Promise<{ readonly place: number; readonly fence: number }> {
  const answer = await halves.prepare(of, LEASE);
  assert.equal(answer.is, "prepared");
  return answer as { is: "prepared"; place: number; fence: number };
}
