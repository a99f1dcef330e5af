// What the broker itself gives up on lies beside what consumers give up, and is replayed like it.
import { type DeadLetter, openTally, release, topic } from "@tallymq/core";
import { rocketmq } from "@tallymq/rocketmq";
import { afterAll, beforeAll, expect, it } from "vitest";
import { type RocketNode, startRocket } from "../brokers/index.ts";
import { makeGroup } from "../brokers/rocketmq/admin.ts";

interface Order {
  readonly n: number;
  readonly key: string;
}

let node: RocketNode;
beforeAll(async () => void (node = await startRocket()));
afterAll(() => node.stop());

it("a message beyond the group's retryMaxTimes is in %DLQ%: listed, replayed, and may die there again", async () => {
  // Somebody else has made the group, with a limit far below our own.
  await makeGroup(node.brokers.get("broker")!, "limited_billing", 1);
  const orders = topic<Order>("limited", { groups: ["billing"], key: (o) => o.key });
  await using tally = await openTally({
    service: "shop",
    broker: rocketmq({
      endpoints: [node.direct],
      names: [node.names],
      ...{ invisible: "10s", heartbeat: "1s", receiveWait: "1s" },
    }),
    topics: [orders],
  });
  let works = false;
  let attempts = 0;
  const done: (string | null)[] = [];
  await using _billing = await tally
    .consumer("billing", { attempts: 1, onError: () => release({ after: 0 }) })
    .on(orders, (_order, { id }) => {
      attempts++;
      if (!works) throw new Error("not yet");
      done.push(id);
    })
    .start();
  const letters = tally.deadLetters(orders, "billing");
  const within = { timeout: 45_000 };
  await tally.publish(orders, { n: 1, key: "ada" }, { id: "o-1", headers: { tenant: "acme" } });
  for (let death = 1; death <= 2; death++) {
    let letter: DeadLetter | undefined;
    await expect.poll(async () => ([letter] = await letters.list()).length, within).toBe(1);
    expect(letter).toMatchObject({
      id: "o-1",
      key: "ada",
      producer: "shop",
      attempts: null,
      headers: { tenant: "acme" },
    });
    expect(letter!.reason).toContain("the broker gave it up");
    expect(letter!.decode()).toEqual({ n: 1, key: "ada" });
    // Two deliveries of each copy: not our limit, which is 16.
    expect(attempts).toBe(2 * death);
    works = death === 2;
    // What the listing gave back is there again some seconds later.
    let replayed = 0;
    await expect.poll(async () => (replayed += (await letters.replay()).replayed), within).toBe(1);
  }
  await expect.poll(() => done, within).toEqual(["o-1"]);
  expect(await letters.list()).toEqual([]);
});
