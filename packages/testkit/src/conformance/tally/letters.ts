import assert from "node:assert/strict";
import { type ConsumerOptions, type DeadLetter, deadLetter, type Tally } from "@tallymq/core";
import { memoryInbox } from "../../stores/inbox.ts";
import type { ConformanceCase } from "../case.ts";
import { Acks } from "./acks.ts";
import type { Order } from "./order.ts";
import { type ObservedTally, tallyCase, type TallyStage } from "./stage.ts";

const declines: ConsumerOptions = { onError: () => deadLetter("declined") };
const decline = (): never => {
  throw new Error("no");
};
const shown = (letters: readonly DeadLetter[]): (string | null)[] => letters.map(({ id }) => id);
const ids = (n: number): string[] => Array.from({ length: n }, (_, i) => `m-${i}`);

/** Resolves when so many letters have been confirmed. */
async function died(s: TallyStage, of: ObservedTally, n: number): Promise<void> {
  const letters = (): number => of.events.filter((e) => e.type === "dead-lettered").length;
  await s.watch.until(`${n} dead letters`, () => letters() >= n, letters);
}

/** An inbox that several tallies of a case share. */
function shared(): { readonly inbox: never } {
  return { inbox: memoryInbox() as never };
}

export const letterCases: readonly ConformanceCase[] = [
  tallyCase(
    "dead letters are listed without being taken, and replayed in order to their group alone",
    ["inplace"],
    async (s) => {
      const orders = s.topic<Order>("letters", { groups: ["g", "other"], key: (o) => `k${o.n % 2}`, ordered: true });
      const inbox = shared();
      const observed = await s.tally({ topics: [orders], ...inbox });
      const { tally } = observed;
      // Without the inbox, which would hide a second copy.
      const other = await s.consumer(tally, orders, { group: "other", effect: "none" });
      const declining = await s.consumer(tally, orders, { ...declines, before: decline });
      for (const [n, id] of ids(10).entries())
        await s.settled("a receipt", tally.publish(orders, { n }, { id, headers: { tenant: "acme" } }));
      await died(s, observed, 10);
      await s.settled("close", declining.consumer.close());
      const letters = tally.deadLetters(orders, "g");
      const all = await s.settled("letters", letters.list());
      assert.deepEqual(shown(all).toSorted(), ids(10));
      const keys = all.map(({ id }) => Number(id!.slice(2)));
      for (const odd of [0, 1]) {
        const of = keys.filter((n) => n % 2 === odd);
        assert.deepEqual(
          of,
          of.toSorted((a, b) => a - b),
          "expected the letters of a key in its order",
        );
      }
      // Beyond what a queue of the broker's own kind would give a message.
      for (let look = 0; look < 25; look++)
        assert.deepEqual(shown(await s.settled("letters", letters.list())), shown(all), `look ${look}`);
      assert.deepEqual(await s.settled("a dry run", letters.replay({ dryRun: true })), {
        matched: 10,
        replayed: 0,
        failed: 0,
        left: 10,
      });
      const { reason, attempts, key, producer, headers } = all[0]!;
      assert.deepEqual(
        { reason, attempts, producer, tenant: headers["tenant"] },
        { reason: "declined", attempts: 1, producer: "conformance", tenant: "acme" },
      );
      const one = await s.settled("a replay", letters.replay({ where: (l) => l.key === key, most: 1 }));
      assert.deepEqual(one, { matched: 1, replayed: 1, failed: 0, left: 9 });
      const rest = await s.settled("letters", letters.list());
      assert.deepEqual(shown(rest), shown(all).slice(1), "expected the others where they were");
      assert.equal((await s.settled("a replay", letters.replay())).replayed, 9);
      const working = await s.consumer(tally, orders);
      await working.has(ids(10));
      await s.quiet();
      const order = working.seen.map(({ body }) => body.n);
      for (const odd of [0, 1]) {
        const of = order.filter((n) => n % 2 === odd);
        assert.deepEqual(
          of,
          of.toSorted((a, b) => a - b),
          "expected the messages of a key in its order",
        );
      }
      assert.equal(working.seen.length, 10);
      assert.equal(other.seen.length, 10, "expected nothing to be replayed to another group");
      assert.deepEqual(
        working.seen.map(({ context }) => [
          context.producer,
          context.headers["tenant"],
          context.headers["dead-reason"],
        ])[0],
        ["conformance", "acme", undefined],
      );
      assert.deepEqual(await s.settled("letters", letters.list()), []);
      await s.allSettled(orders);
    },
  ),

  tallyCase("what is purged is gone, and nothing else is", [], async (s) => {
    const orders = s.topic<Order>("purge");
    const observed = await s.tally({ topics: [orders], ...shared() });
    const { tally } = observed;
    const declining = await s.consumer(tally, orders, { ...declines, before: decline });
    for (const [n, id] of ids(6).entries()) await s.settled("a receipt", tally.publish(orders, { n }, { id }));
    await died(s, observed, 6);
    await s.settled("close", declining.consumer.close());
    const letters = tally.deadLetters(orders, "g");
    const even = ({ id }: DeadLetter): boolean => Number(id!.slice(2)) % 2 === 0;
    assert.deepEqual(await s.settled("a purge", letters.purge({ where: even })), { matched: 3, purged: 3, left: 3 });
    const rest = shown(await s.settled("letters", letters.list()));
    assert.deepEqual(rest.toSorted(), ["m-1", "m-3", "m-5"]);
    await s.allSettled(orders);
  }),

  tallyCase(
    "a replay whose connection is cut loses nothing, and no effect comes twice",
    ["cut", "inplace"],
    async (s) => {
      const orders = s.topic<Order>("cut-replay");
      const inbox = shared();
      const observed = await s.tally({ topics: [orders], ...inbox });
      const { tally } = observed;
      const declining = await s.consumer(tally, orders, { ...declines, before: decline });
      for (const [n, id] of ids(12).entries()) await s.settled("a receipt", tally.publish(orders, { n }, { id }));
      await died(s, observed, 12);
      await s.settled("close", declining.consumer.close());
      const working = await s.consumer(tally, orders);
      const acks = new Acks();
      const replaying = (await s.tally({ broker: acks.of(s.broker), ...inbox })).tally;
      let replayed = 0;
      replaying.on(({ type }) => {
        if (type !== "letter-replayed" || ++replayed !== 4) return;
        // What is acked from here on is not told; then the connection goes.
        acks.lost = true;
        void s.rig.cut!().then(() => (acks.lost = false));
      });
      const rest = async (by: Tally): Promise<number> => (await by.deadLetters(orders, "g").replay()).left;
      await s.settled("a replay", rest(replaying));
      await s.settled("the rest", rest(tally));
      await working.has(ids(12));
      await s.quiet();
      assert.deepEqual(working.seen.map(({ id }) => id).toSorted(), ids(12).toSorted(), "expected each effect once");
      assert.deepEqual(await s.settled("letters", tally.deadLetters(orders, "g").list()), []);
      await s.allSettled(orders);
    },
  ),

  tallyCase(
    "a letter is out, the connection cut before the ack, and the handler would succeed now: no effect beside the letter",
    ["cut", "ends"],
    async (s) => {
      const orders = s.topic<Order>("letter-or-effect");
      const acks = new Acks();
      const observed = await s.tally({ topics: [orders], broker: acks.of(s.broker), ...shared() });
      const { tally } = observed;
      let works = false;
      const effects = await s.consumer(tally, orders, { ...declines, before: () => (works ? undefined : decline()) });
      acks.lost = true;
      await s.settled("a receipt", tally.publish(orders, { n: 1 }, { id: "m-0" }));
      await died(s, observed, 1);
      works = true;
      await s.quiet();
      assert.equal(acks.kept, 1, "expected one ack that the broker has not heard of");
      acks.lost = false;
      await s.rig.cut!();
      await died(s, observed, 2);
      await s.quiet();
      assert.deepEqual(effects.seen, []);
      const letters = await s.settled("letters", tally.deadLetters(orders, "g").list());
      assert.deepEqual([...new Set(shown(letters))], ["m-0"]);
      await s.allSettled(orders);
    },
  ),
];
