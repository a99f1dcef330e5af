// What core and the adapter come to together, with a client that does what the test says.
import { openTally, type Tally, topic } from "@tallymq/core";
import { turns } from "@tallymq/testkit";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SendFailure } from "../src/driver/driver.ts";
import { FakeDriver, ids, taken } from "./fake-driver.ts";

const orders = topic<{ readonly n: number; readonly customer: string }>("orders", {
  key: (o) => o.customer,
  groups: ["billing"],
});
/** Keys that lie in one partition each. */
const [A, B] = ["a", "d"];

let driver: FakeDriver;
let tally: Tally;
beforeEach(async () => {
  driver = new FakeDriver();
  tally = await openTally({
    service: "shop",
    broker: { name: "kafka", open: (host) => driver.transport({}, host) },
    topics: [orders],
  });
});
afterEach(async () => {
  const closing = tally.close({ within: "1s" });
  for (const request of driver.requests) taken(request);
  await closing;
});

const publish = (n: number, customer = A) => tally.publish(orders, { n, customer: customer! }, { id: `m-${n}` });

describe("publishing", () => {
  it("has one request of a partition out at a time; what is published meanwhile is the next one, at once", async () => {
    const all = [publish(0)];
    await expect.poll(() => driver.requests.length).toBe(1);
    for (let n = 1; n <= 5; n++) {
      all.push(publish(n));
      await turns();
    }
    expect(driver.requests.map(ids)).toEqual([["m-0"]]);
    taken(driver.requests[0]!);
    await turns();
    expect(driver.requests.map(ids)).toEqual([["m-0"], ["m-1", "m-2", "m-3", "m-4", "m-5"]]);
    taken(driver.requests[1]!);
    await Promise.all(all);
  });

  it("sends again what was in a rejected request, by a new producer under the same id, and nothing of the other partitions", async () => {
    const receipts = [publish(0, A), publish(1, B), publish(2, B)];
    await expect.poll(() => driver.requests.length).toBe(2);
    const [a, b] = driver.requests;
    a!.fail(new SendFailure(11, Object.assign(new Error("moved"), { type: "NOT_LEADER_FOR_PARTITION" })));
    await expect.poll(() => driver.requests.length).toBe(3);
    const again = driver.requests[2]!;
    expect([ids(again), again.partition, again.producer]).toEqual([["m-0"], a!.partition, 2]);
    taken(b!);
    taken(again);
    expect((await Promise.all(receipts)).map(({ state }) => state)).toEqual(["confirmed", "confirmed", "confirmed"]);
    expect(driver.requests.map(ids)).toEqual([["m-0"], ["m-1", "m-2"], ["m-0"]]);
  });
});

describe("consuming", () => {
  it("goes on with another client when the first has given up, from where the group is", async () => {
    const seen: number[] = [];
    driver.assigned = [0];
    await using _billing = await tally
      .consumer("billing", { effect: "none" })
      .on(orders, (_, { native: _native, id }) => void seen.push(Number(id!.slice(1))))
      .start();
    const [first] = driver.members;
    first!.fetch("orders", 0, 0, 1);
    await expect.poll(() => driver.committed.get("orders/0")?.offset).toBe(2);
    first!.events.crashed(new Error("gave up"));
    await expect.poll(() => driver.members.length).toBe(2);
    await expect.poll(() => driver.members[1]!.journal).toContain("seek orders/0 2");
    driver.members[1]!.fetch("orders", 0, 2);
    await expect.poll(() => seen).toEqual([0, 1, 2]);
    expect(first!.journal.at(-1)).toBe("close");
  });
});
