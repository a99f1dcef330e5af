// Dead letters are looked at without being taken, and thrown away only when asked for.
import { expect, test } from "vitest";
import { bytes, json, topic } from "../../src/index.ts";
import { turns } from "../support/guarded.ts";
import { ids, letterBench, orders } from "../support/letters.ts";

test("list() shows each letter as the message was, with the reason, in the order of the queue", async () => {
  const b = await letterBench();
  await b.die(3);
  const letters = await b.run(b.tally.deadLetters(orders, "billing").list());
  expect(ids(letters)).toEqual(["o-1", "o-2", "o-3"]);
  expect(letters[0]).toMatchObject({
    id: "o-1",
    letterId: "o-1",
    producer: "shop",
    topic: "orders",
    group: "billing",
    key: "a",
    type: "orders",
    reason: "no o-1",
    attempts: 1,
    contentType: "application/json",
    contentEncoding: null,
    headers: { trace: "t-1" },
    correlationId: null,
    causationId: null,
  });
  expect(letters[0]!.decode()).toEqual({ n: 1, key: "a" });
  expect(letters[0]!.time).toBeLessThanOrEqual(letters[0]!.deadAt!);
  expect(Object.keys(letters[0]!.headers)).toEqual(["trace"]);
});

test("list() changes nothing: the same letters in the same order, however often, and a consumer gets them", async () => {
  const b = await letterBench();
  await b.die(5, ["a", "b"]);
  const before = JSON.stringify(b.letters());
  const letters = b.tally.deadLetters(orders, "billing");
  for (let look = 0; look < 30; look++) expect(ids(await b.run(letters.list()))).toHaveLength(5);
  expect(JSON.stringify(b.letters())).toBe(before);
  const seen: (string | null)[] = [];
  await b.run(
    b.tally
      .consumer("dead-letters")
      .on(topic("orders.billing.dead-letters"), (_body, { id }) => void seen.push(id))
      .start(),
  );
  await b.run(turns());
  expect(seen).toEqual(["o-1", "o-2", "o-3", "o-4", "o-5"]);
});

test("list({ most, where }) looks past what it does not show", async () => {
  const b = await letterBench();
  await b.die(20, ["a", "b"]);
  const letters = b.tally.deadLetters(orders, "billing");
  expect(ids(await b.run(letters.list({ most: 2, where: ({ key }) => key === "a" })))).toEqual(["o-2", "o-4"]);
  expect(await b.run(letters.list())).toHaveLength(20);
  // Five are held, and show no more: nothing is waited for.
  const at = b.clock.now();
  expect(ids(await b.run(letters.list({ hold: 5, most: 3, where: ({ key }) => key === "a" })))).toEqual(["o-2", "o-4"]);
  expect(b.clock.now() - at).toBeLessThan(1_000);
});

test("an empty queue, and one that nobody has heard of, is an empty list, at once", async () => {
  const b = await letterBench();
  const at = b.clock.now();
  expect(await b.run(b.tally.deadLetters(topic("nobody"), "nobody").list())).toEqual([]);
  expect(b.clock.now() - at).toBeLessThan(1_000);
});

test("letters that somebody else holds are not waited for beyond five seconds", async () => {
  const b = await letterBench();
  await b.die(3);
  const other = await b.another();
  const gate = Promise.withResolvers<void>();
  await b.run(
    other
      .consumer("dead-letters", { credit: 2, lanes: 2, processingDeadline: "1h" })
      .on(topic("orders.billing.dead-letters", { codec: bytes }), () => gate.promise)
      .start(),
  );
  await turns();
  const at = b.clock.now();
  expect(ids(await b.run(b.tally.deadLetters(orders, "billing").list()))).toEqual(["o-3"]);
  expect(b.clock.now() - at).toBeGreaterThanOrEqual(5_000);
  expect(b.clock.now() - at).toBeLessThan(6_000);
});

test("a session that is lost begins again at the front; without one for 30 s it is given up", async () => {
  const b = await letterBench();
  await b.die(4);
  const letters = b.tally.deadLetters(orders, "billing");
  let looks = 0;
  const where = (): boolean => {
    if (++looks === 2) b.broker.faults.loseSessions();
    return true;
  };
  expect(ids(await b.run(letters.list({ where })))).toEqual(["o-1", "o-2", "o-3", "o-4"]);
  b.broker.faults.every("open", 1).fail();
  const at = b.clock.now();
  await expect(b.run(letters.list())).rejects.toMatchObject({ code: "unreachable", retryable: true });
  expect(b.clock.now() - at).toBeLessThan(31_000);
  b.broker.faults.clear();
  expect(await b.run(letters.list())).toHaveLength(4);
});

test("purge() throws away what it is asked to, and nothing else; the identities stay dead", async () => {
  const b = await letterBench();
  await b.die(6, ["a", "b"]);
  const letters = b.tally.deadLetters(orders, "billing");
  const where = ({ key }: { readonly key: string | null }): boolean => key === "a";
  expect(await b.run(letters.purge({ where, dryRun: true }))).toEqual({ matched: 3, purged: 0, left: 6 });
  expect(b.letters()).toHaveLength(6);
  expect(await b.run(letters.purge({ where, most: 2 }))).toEqual({ matched: 2, purged: 2, left: 4 });
  expect(ids(b.letters())).toEqual(["o-1", "o-3", "o-5", "o-6"]);
  expect(await b.run(letters.purge())).toEqual({ matched: 4, purged: 4, left: 0 });
  expect(b.letters()).toEqual([]);
  expect(b.tally.counters()["letter-purged"]).toBe(6);
  expect(b.inbox.marks.map(({ state }) => state)).toEqual(Array.from({ length: 6 }, () => "dead"));
  expect(b.queued("billing")).toEqual([]);
});

test("purge({ dryRun }) says how many it would throw away, and throws none away", async () => {
  const b = await letterBench();
  await b.die(3);
  const letters = b.tally.deadLetters(orders, "billing");
  expect(await b.run(letters.purge({ dryRun: true, most: 2 }))).toEqual({ matched: 2, purged: 0, left: 3 });
  expect(ids(b.letters())).toEqual(["o-1", "o-2", "o-3"]);
  expect(b.tally.counters()["letter-purged"]).toBeUndefined();
});

test("a predicate that gives a promise ends the call: it would choose every letter", async () => {
  const b = await letterBench();
  await b.die(3);
  const letters = b.tally.deadLetters(orders, "billing");
  for (const where of [async () => false, async () => Promise.reject(new Error("mine"))] as never[])
    for (const call of ["list", "replay", "purge"] as const)
      await expect(b.run<unknown>(letters[call]({ where }))).rejects.toMatchObject({
        code: "bad-config",
        message: "[bad-config] deadLetters: where must say true or false at once; it gave a promise",
      });
  expect(ids(b.letters())).toEqual(["o-1", "o-2", "o-3"]);
});

test("calls on one queue take turns; what a predicate throws, and a signal, end one and give back what it holds", async () => {
  const b = await letterBench();
  await b.die(4);
  const letters = b.tally.deadLetters(orders, "billing");
  const again = b.tally.deadLetters(orders, "billing");
  const [one, two] = await b.run(Promise.all([letters.list(), again.list()]));
  expect([ids(one), ids(two)]).toEqual([ids(two), ["o-1", "o-2", "o-3", "o-4"]]);
  const thrown = letters.list({
    where: () => {
      throw new RangeError("mine");
    },
  });
  await expect(b.run(thrown)).rejects.toThrow(RangeError);
  const stop = new AbortController();
  const replay = letters.replay({ perSecond: 1, signal: stop.signal });
  replay.catch(() => {});
  await b.pass(1_500);
  stop.abort();
  await expect(b.run(replay)).rejects.toMatchObject({ code: "aborted" });
  expect(await b.run(letters.list({ signal: new AbortController().signal }))).toHaveLength(2);
});

test("wrong options are refused at the call; after close() there are no calls, and those under way end", async () => {
  const b = await letterBench();
  const of = (t: unknown, g: unknown): unknown => b.tally.deadLetters(t as never, g as never);
  for (const call of [() => of({}, "billing"), () => of(orders, ""), () => of(topic("x".repeat(250)), "billing")])
    expect(call).toThrow(expect.objectContaining({ code: "bad-config" }));
  const letters = b.tally.deadLetters(orders, "billing");
  for (const wrong of [{ most: 0 }, { hold: 1e9 }, { perSecond: 0 }, { where: "x" }, { signal: 1 }, { mots: 1 }])
    await expect(letters.replay(wrong as never)).rejects.toMatchObject({ code: "bad-config" });
  await b.die(3);
  const replay = letters.replay({ perSecond: 1 });
  replay.catch(() => {});
  await b.pass(1_500);
  await b.run(b.tally.close());
  await expect(replay).rejects.toMatchObject({ code: "closed" });
  await expect(letters.list()).rejects.toMatchObject({ code: "closed" });
  expect(() => b.tally.deadLetters(orders, "billing")).toThrow(/closed/);
  expect(b.clock.pending()).toBe(0);
});

test("somebody else's message among the letters shows as what it is; decode() tells what it cannot read", async () => {
  const b = await letterBench();
  const queue = topic<Uint8Array>("orders.billing.dead-letters", { groups: ["dead-letters"], codec: bytes });
  await b.run(b.tally.publish(queue, Uint8Array.of(0xff), { id: "stray", headers: { "dead-attempts": "x" } }));
  const [letter] = await b.run(b.tally.deadLetters({ ...orders, codec: json as never }, "billing").list());
  expect(letter).toMatchObject({
    id: "stray",
    producer: "shop",
    attempts: null,
    reason: expect.stringContaining("no reason is given"),
  });
  expect(() => letter!.decode()).toThrow(expect.objectContaining({ code: "decode" }));
});
