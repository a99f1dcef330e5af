// A dead letter becomes its message again: for its group alone, in order, at a rate, once.
import { describe, expect, test } from "vitest";
import { seededRandom } from "@tallymq/testkit";
import { deadLetter, TallyError, topic } from "../../src/index.ts";
import { bodyHash } from "../../src/hash.ts";
import type { FreshClaim } from "../../src/spi.ts";
import { asJson } from "../support/receiving.ts";
import { ids, letterBench, type Order, orders, working } from "../support/letters.ts";

test("each letter is its message again, for its group alone, with all that the message had", async () => {
  const b = await letterBench();
  const trace = { id: "cause", correlationId: "c-1", headers: {} };
  await b.die(1);
  await b.run(b.tally.publish(orders, { n: 2, key: "k" }, { id: "o-2", cause: trace, headers: { tenant: "acme" } }));
  const original = b.queued("billing").find(({ id }) => id === "o-2")!;
  const mails = b.queued("mail").length;
  const consumer = await b.run(
    b.tally
      .consumer("billing", { onError: () => deadLetter() })
      .on(orders, () => Promise.reject(new Error("no")))
      .start(),
  );
  await b.pass(60_000);
  await b.run(consumer.close());
  expect(await b.run(b.tally.deadLetters(orders, "billing").replay())).toEqual({
    matched: 2,
    replayed: 2,
    failed: 0,
    left: 0,
  });
  expect(b.letters()).toEqual([]);
  const again = b.queued("billing").find(({ id }) => id === "o-2")!;
  const { seq: _seq, native: _native, ...same } = original;
  expect(again).toMatchObject(same);
  expect(Object.keys(again.headers)).toEqual(["tenant"]);
  expect(b.queued("mail")).toHaveLength(mails);
  expect(b.tally.counters()["letter-replayed"]).toBe(2);
});

test("its effect happens, once, also when a letter whose ack was lost is replayed again", async () => {
  const b = await letterBench();
  await b.die(3);
  const seen = await working(b);
  b.broker.faults.every("settle", 1).dropSettlement();
  const letters = b.tally.deadLetters(orders, "billing");
  await b.run(letters.replay());
  expect(ids(b.letters())).toEqual(["o-1", "o-2", "o-3"]);
  b.broker.faults.clear();
  await b.run(letters.replay());
  await b.pass(30_000);
  expect(b.letters()).toEqual([]);
  expect(ids(seen)).toEqual(["o-1", "o-2", "o-3"]);
  expect(b.inbox.marks.map(({ state, attempts }) => [state, attempts])).toEqual([
    ["done", 1],
    ["done", 1],
    ["done", 1],
  ]);
});

test("without lifting `dead` it would be a letter again: the inbox is asked before the message leaves", async () => {
  const b = await letterBench();
  await b.die(1);
  b.inbox.broken = new TallyError("store", "the disk is gone");
  const letters = b.tally.deadLetters(orders, "billing");
  await expect(b.run(letters.replay())).rejects.toMatchObject({ code: "store" });
  expect(ids(b.letters())).toEqual(["o-1"]);
  expect(b.queued("billing")).toEqual([]);
  b.inbox.broken = null;
  await b.run(letters.replay());
  expect(b.inbox.marks).toMatchObject([{ state: "open", attempts: 0 }]);
  expect(ids(b.queued("billing"))).toEqual(["o-1"]);
});

test("a letter that dies again is a letter again, and is not replayed by the call that replayed it", async () => {
  const b = await letterBench();
  await b.die(3);
  await b.run(
    b.tally
      .consumer("billing", { onError: () => deadLetter("still no") })
      .on(orders, () => Promise.reject(new Error("no")))
      .start(),
  );
  const result = await b.run(b.tally.deadLetters(orders, "billing").replay({ perSecond: 1 }));
  expect(result).toEqual({ matched: 3, replayed: 3, failed: 0, left: 0 });
  await b.pass(10_000);
  const letters = await b.run(b.tally.deadLetters(orders, "billing").list());
  expect(letters.map(({ id, reason }) => [id, reason])).toEqual([
    ["o-1", "still no"],
    ["o-2", "still no"],
    ["o-3", "still no"],
  ]);
});

test("where and most choose; the others stay, in their order", async () => {
  const b = await letterBench();
  await b.die(8, ["a", "b"]);
  const letters = b.tally.deadLetters(orders, "billing");
  const result = await b.run(letters.replay({ where: ({ key }) => key === "b", most: 3 }));
  expect(result).toEqual({ matched: 3, replayed: 3, failed: 0, left: 5 });
  expect(ids(b.letters())).toEqual(["o-2", "o-4", "o-6", "o-7", "o-8"]);
  expect(ids(b.queued("billing"))).toEqual(["o-1", "o-3", "o-5"]);
});

test("a dry run says how many, and changes nothing", async () => {
  const b = await letterBench();
  await b.die(6, ["a", "b"]);
  const before = JSON.stringify(b.letters());
  const result = await b.run(
    b.tally.deadLetters(orders, "billing").replay({ dryRun: true, perSecond: 1, where: ({ key }) => key === "a" }),
  );
  expect(result).toEqual({ matched: 3, replayed: 0, failed: 0, left: 6 });
  expect(JSON.stringify(b.letters())).toBe(before);
  expect(b.queued("billing")).toEqual([]);
  expect(b.inbox.marks.every(({ state }) => state === "dead")).toBe(true);
  expect(b.tally.counters()["letter-replayed"]).toBeUndefined();
});

test("perSecond is kept to, through the clock", async () => {
  const b = await letterBench();
  await b.die(11);
  const at = b.clock.now();
  const times: number[] = [];
  b.tally.on(({ type }) => type === "letter-replayed" && times.push(b.clock.now() - at));
  await b.run(b.tally.deadLetters(orders, "billing").replay({ perSecond: 2 }));
  expect(times).toHaveLength(11);
  for (const [i, time] of times.entries()) {
    expect(time).toBeGreaterThanOrEqual(500 * i);
    expect(time).toBeLessThan(500 * i + 100);
  }
});

describe("the order of a key", () => {
  const keyed = topic<Order>("keyed", { groups: ["billing", "mail"], key: (o) => o.key });
  test.each([
    ["ordered", orders],
    ["unordered", keyed],
  ])("is that of the queue: each is confirmed before the next of its key leaves (%s topic)", async (_name, of) => {
    const b = await letterBench(of);
    await b.die(12, ["a", "b", "c"]);
    const seen = await working(b, of);
    // The first copy is nacked: what came after it would be ahead.
    b.broker.faults.on("send", 1).nack();
    b.broker.faults.on("send", 5).dropVerdict();
    await b.run(b.tally.deadLetters(of, "billing").replay());
    await b.pass(60_000);
    expect(seen.map(({ n }) => n)).toHaveLength(12);
    for (const rest of [0, 1, 2]) {
      const of = seen.map(({ n }) => n).filter((n) => n % 3 === rest);
      expect(of).toEqual(of.toSorted((x, y) => x - y));
    }
  });

  test("keys go side by side, so that a replay does not take a round trip for each letter", async () => {
    const b = await letterBench();
    const keys = Array.from({ length: 30 }, (_, n) => `k${n}`);
    await b.die(60, keys);
    b.broker.faults.every("send", 1).delayVerdict(1_000);
    const at = b.clock.now();
    const times: number[] = [];
    b.tally.on(({ type }) => type === "letter-replayed" && times.push(Math.floor((b.clock.now() - at) / 1_000)));
    await b.run(b.tally.deadLetters(orders, "billing").replay());
    expect(times).toEqual([...keys.map(() => 1), ...keys.map(() => 2)]);
  });

  test("what is held is what stays: letters on their way make room when they are through", async () => {
    const b = await letterBench();
    await b.die(30, ["a", "b", "c"]);
    b.broker.faults.every("send", 1).delayVerdict(100);
    const result = await b.run(
      b.tally.deadLetters(orders, "billing").replay({ hold: 5, where: ({ id }) => id !== "o-1" && id !== "o-2" }),
    );
    expect(result).toEqual({ matched: 28, replayed: 28, failed: 0, left: 2 });
    const at = b.clock.now();
    const none = await b.run(b.tally.deadLetters(orders, "billing").replay({ hold: 1, where: () => false }));
    expect(none).toEqual({ matched: 0, replayed: 0, failed: 0, left: 2 });
    expect(b.clock.now() - at).toBeLessThan(1_000);
  });

  test("a letter that the broker refuses stays, and so do those of its key behind it; others go", async () => {
    const b = await letterBench();
    await b.die(6, ["a", "b"]);
    b.broker.faults.on("send", 2).refuse();
    const result = await b.run(b.tally.deadLetters(orders, "billing").replay());
    expect(result).toEqual({ matched: 6, replayed: 3, failed: 3, left: 3 });
    expect(ids(b.letters())).toEqual(["o-2", "o-4", "o-6"]);
    expect(ids(b.queued("billing"))).toEqual(["o-1", "o-3", "o-5"]);
  });
});

test("what waiting may mend ends the call, and the letter stays", async () => {
  const b = await letterBench();
  await b.die(2);
  b.broker.faults.block("memory");
  const letters = b.tally.deadLetters(orders, "billing");
  await expect(b.run(letters.replay())).rejects.toMatchObject({ code: "deadline" });
  b.broker.faults.unblock();
  expect(ids(b.letters())).toEqual(["o-1", "o-2"]);
  expect((await b.run(letters.replay())).replayed).toBe(2);
});

test("a conflict's letter is replayed under its own id: a message of its own", async () => {
  const b = await letterBench();
  const seen = await working(b);
  await b.run(b.tally.publish(orders, { n: 1, key: "a" }, { id: "o-1" }));
  await b.pass(100);
  await b.run(b.tally.publish(orders, { n: 99, key: "a" }, { id: "o-1" }));
  await b.pass(100);
  const letters = b.tally.deadLetters(orders, "billing");
  const [letter] = await b.run(letters.list());
  expect(letter).toMatchObject({ id: "o-1", attempts: null });
  expect(letter!.letterId).toMatch(/^o-1#[0-9a-f]{16}$/);
  await b.run(letters.replay());
  await b.pass(100);
  expect(seen).toEqual([
    { id: "o-1", n: 1 },
    { id: letter!.letterId, n: 99 },
  ]);
  expect(b.letters()).toEqual([]);
});

test("a letter whose id could not be sent lifts no mark: what is replayed is another message to the inbox", async () => {
  const b = await letterBench();
  const raw = topic<Order>("orders.billing.dead-letters", { groups: ["dead-letters"] });
  const body = { n: 1, key: "a" };
  const key = { group: "billing", topic: "orders", producer: "shop", id: "too long", bodyHash: bodyHash(asJson(body)) };
  const store = await b.inbox.openInbox({ clock: b.clock, random: seededRandom(1), surfaced: () => {} });
  const [claim] = await store.claim([{ ...key, behind: null }], 1_000);
  await store.end(claim as FreshClaim, { is: "dead", reason: "no" });
  const headers = { "dead-topic": "orders", "dead-id": "too long", "dead-producer": "shop", "dead-reason": "no" };
  await b.run(b.tally.publish(raw, body, { id: "short#1", headers }));
  await b.run(b.tally.deadLetters(orders, "billing").replay());
  expect(ids(b.queued("billing"))).toEqual(["short#1"]);
  expect(b.inbox.marks).toMatchObject([{ state: "dead" }]);
});

test("of a sender that gave no name: under the identity that it died with", async () => {
  const b = await letterBench();
  const raw = topic<Order>("orders.billing.dead-letters", { groups: ["dead-letters"] });
  await b.run(
    b.tally.publish(
      raw,
      { n: 1, key: "a" },
      {
        id: "f-1",
        headers: { "dead-topic": "orders", "dead-group": "billing", "dead-reason": "no", "dead-id": "f-1" },
      },
    ),
  );
  await b.run(b.tally.deadLetters(orders, "billing").replay());
  const seen = await working(b);
  await b.pass(100);
  expect(ids(seen)).toEqual(["f-1"]);
  expect(b.inbox.marks).toMatchObject([{ key: { producer: "", id: "f-1" }, state: "done" }]);
});
