// A replay of dead letters whose session is lost in the middle.
import { expect, test } from "vitest";
import { ids, letterBench, orders, working } from "../support/letters.ts";

test("a session lost in the middle: nothing is lost, nothing takes effect twice", async () => {
  const b = await letterBench();
  await b.die(9, ["a", "b"]);
  const seen = await working(b);
  let replayed = 0;
  b.tally.on(({ type }) => {
    if (type === "letter-replayed" && ++replayed === 4) b.broker.faults.loseSessions();
  });
  const result = await b.run(b.tally.deadLetters(orders, "billing").replay({ where: ({ id }) => id !== "o-2" }));
  expect(result.failed).toBe(0);
  await b.run(b.tally.deadLetters(orders, "billing").replay());
  await b.pass(60_000);
  expect(b.letters()).toEqual([]);
  expect(ids(seen).toSorted()).toEqual(Array.from({ length: 9 }, (_, i) => `o-${i + 1}`));
});

test("a session lost in the middle: no more than `most` are replayed, before and after together", async () => {
  const b = await letterBench();
  await b.die(9);
  let replayed = 0;
  b.tally.on(({ type }) => {
    if (type === "letter-replayed" && ++replayed === 3) b.broker.faults.loseSessions();
  });
  const result = await b.run(b.tally.deadLetters(orders, "billing").replay({ most: 5, perSecond: 1 }));
  expect(result).toEqual({ matched: 5, replayed: 5, failed: 0, left: 4 });
  expect(ids(b.letters())).toEqual(["o-6", "o-7", "o-8", "o-9"]);
});

test("what was on its way when the session was lost comes again, and is counted once", async () => {
  const b = await letterBench();
  await b.die(6, ["a", "b", "c"]);
  const seen = await working(b);
  b.broker.faults.every("send", 1).delayVerdict(2_000);
  const replay = b.run(b.tally.deadLetters(orders, "billing").replay());
  await b.pass(1_000);
  // The receiving session alone: the verdicts still come, for letters that are not ours to ack any more.
  b.broker.faults.on("settle").loseSession();
  b.broker.faults.on("settle").loseSession();
  expect(await replay).toEqual({ matched: 6, replayed: 6, failed: 0, left: 0 });
  b.broker.faults.clear();
  await b.run(b.tally.deadLetters(orders, "billing").replay());
  await b.pass(30_000);
  expect(b.letters()).toEqual([]);
  expect(ids(seen).toSorted()).toEqual(["o-1", "o-2", "o-3", "o-4", "o-5", "o-6"]);
});
