import { openTally, topic } from "@tallymq/core";
import { rocketmq, type RocketOptions } from "@tallymq/rocketmq";
import { afterAll, beforeAll, expect, it } from "vitest";
import { until } from "../brokers/engine/wait.ts";
import { type RocketNode, startRocket } from "../brokers/index.ts";

interface Order {
  readonly n: number;
}

let node: RocketNode;
beforeAll(async () => void (node = await startRocket()));
afterAll(() => node.stop());

/** A service that knows the topic with this one group, which takes part from `open` on. */
async function service(group: string | null, from: RocketOptions["from"]) {
  const orders = topic<Order>("beginnings", { groups: group === null ? [] : [group] });
  const broker = rocketmq({ endpoints: [node.direct], names: [node.names], receiveWait: "1s", from: from! });
  const tally = await openTally({ service: "shop", broker, topics: [orders] });
  const seen: number[] = [];
  if (group !== null)
    await tally
      .consumer(group)
      .on(orders, async ({ n }) => void seen.push(n))
      .start();
  return {
    seen,
    publish: (...numbers: number[]) => Promise.all(numbers.map((n) => tally.publish(orders, { n }))),
    [Symbol.asyncDispose]: () => tally.close({ within: "5s" }),
  };
}

// The broker alone begins at the end or at the beginning, as the queue's age and size have it.
it("a group that is new begins where `from` says, and one that has been there where it was", async () => {
  await using first = await service(null, "earliest");
  await first.publish(0, 1, 2, 3, 4, 5, 6, 7, 8, 9);
  await using late = await service("late", "latest");
  await using early = await service("early", "earliest");
  await first.publish(10, 11, 12);
  await until("the early group to see all", 60_000, () => early.seen.length >= 13);
  await until("the late group to see what came after it", 60_000, () => late.seen.length >= 3);
  expect(early.seen.toSorted((a, b) => a - b)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
  expect(late.seen.toSorted((a, b) => a - b)).toEqual([10, 11, 12]);
  await late[Symbol.asyncDispose]();
  await first.publish(13);
  await using again = await service("late", "latest");
  await until("the late group to go on", 60_000, () => again.seen.length >= 1);
  expect(again.seen).toEqual([13]);
});
