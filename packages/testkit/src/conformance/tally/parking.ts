import assert from "node:assert/strict";
import type { Tally } from "@tallymq/core";
import { memoryInbox } from "../../stores/inbox.ts";
import type { ConformanceCase } from "../case.ts";
import { eventually } from "../wait.ts";
import { tallyCase, type TallyStage } from "./stage.ts";

interface Order {
  readonly key: string;
  readonly n: number;
}

/** Publishes so many messages of a key, numbered from `from`; gives their ids. */
async function publish(
  s: TallyStage,
  tally: Tally,
  to: ReturnType<typeof ordersOf>,
  key: string,
  count: number,
  from = 0,
): Promise<readonly string[]> {
  const ids = Array.from({ length: count }, (_, n) => `${key}-${from + n}`);
  const sent = ids.map((id, n) => tally.publish(to, { key, n: from + n }, { id }));
  await s.settled("receipts", Promise.all(sent));
  return ids;
}

function ordersOf(s: TallyStage, stem: string) {
  return s.topic<Order>(stem, { key: (o) => o.key, ordered: true });
}

/** Until so many messages of key `a` are parked. */
async function parked(s: TallyStage, tally: Tally, topic: string, count: number): Promise<void> {
  const list = async (): Promise<number> => {
    const keys = await tally.parked.keys.list({ group: "g", topic });
    return keys.find((each) => each.key === "a")?.messages ?? 0;
  };
  await eventually(s.rig.limitMs, `${count} parked messages`, list, (n) => n === count);
}

export const parkingCases: readonly ConformanceCase[] = [
  tallyCase(
    "a head that failed is parked with what follows, more than the prefetch; other keys go on, and a replay keeps the order",
    [],
    async (s) => {
      const orders = ordersOf(s, "parked");
      const { tally } = await s.tally({ topics: [orders], inbox: memoryInbox() as never });
      let works = false;
      const effects = await s.consumer(tally, orders, {
        lanes: 2,
        credit: 4,
        attempts: 1,
        before({ key }) {
          if (key === "a" && !works) throw new Error("not yet");
        },
      });
      const as = await publish(s, tally, orders, "a", 12);
      const bs = await publish(s, tally, orders, "b", 3);
      await effects.has(bs);
      await parked(s, tally, orders.name, 12);
      const ran = (key: string): (string | null)[] => effects.seen.filter((e) => e.body.key === key).map((e) => e.id);
      assert.deepEqual([ran("a"), ran("b")], [[], bs]);
      works = true;
      const replay = tally.parked.keys.replay({ group: "g", topic: orders.name, key: "a" });
      assert.equal(await s.settled("a replay", replay), 12);
      const more = await publish(s, tally, orders, "a", 2, 12);
      await effects.has(more);
      assert.deepEqual(ran("a"), [...as, ...more]);
      await s.allSettled(orders);
    },
  ),

  tallyCase(
    "a key that one member of the group has parked does not run at another, until it is replayed",
    [],
    async (s) => {
      const orders = ordersOf(s, "parked-elsewhere");
      const inbox = memoryInbox() as never;
      const { tally: first } = await s.tally({ topics: [orders], inbox });
      const { tally: second } = await s.tally({ inbox });
      await s.consumer(first, orders, {
        attempts: 1,
        before() {
          throw new Error("not here");
        },
      });
      const [head] = await publish(s, first, orders, "a", 1);
      await parked(s, first, orders.name, 1);
      await s.settled("close", first.close({ within: s.rig.limitMs }));
      const effects = await s.consumer(second, orders);
      const [next] = await publish(s, second, orders, "a", 1, 1);
      await effects.has(await publish(s, second, orders, "b", 1));
      await parked(s, second, orders.name, 2);
      assert.deepEqual(
        effects.seen.map((e) => e.id),
        ["b-0"],
      );
      const replay = second.parked.keys.replay({ group: "g", topic: orders.name, key: "a" });
      assert.equal(await s.settled("a replay", replay), 2);
      assert.deepEqual(
        effects.seen.map((e) => e.id),
        ["b-0", head, next],
      );
      await s.allSettled(orders);
    },
  ),
];
