import { expect, it } from "vitest";
import type { InMessage } from "../src/driver/driver.ts";
import { Standing } from "../src/standing.ts";

function message(offset: number, given: Partial<InMessage> = {}): InMessage {
  return {
    topic: "orders",
    queueId: 0,
    offset,
    attempt: 1,
    messageGroup: null,
    messageId: `${offset}`,
    ...given,
  } as InMessage;
}

it("what we have acked is no backlog, though the broker does not count it yet; what is out is", () => {
  const standing = new Standing();
  for (let offset = 0; offset < 5; offset++) standing.out(message(offset));
  for (const offset of [0, 1, 3]) standing.done(message(offset));
  expect(standing.count("orders", 0, 0, 5)).toBe(2);
  // Further on, the broker counts as past what is still out here.
  expect(standing.count("orders", 0, 5, 5)).toBe(2);
});

it("what is released is away until it comes again", () => {
  const standing = new Standing();
  standing.out(message(1));
  standing.released(message(1));
  expect([standing.count("orders", 0, 1, 2), standing.away]).toEqual([0, 1]);
  standing.out(message(7, { attempt: 2, messageId: "1" }));
  expect(standing.away).toBe(0);
});

it("a consumer that runs for months keeps no more than ten thousand of what is behind it, though nobody asks for its backlog", () => {
  const standing = new Standing();
  for (let offset = 0; offset < 50_000; offset++) {
    standing.out(message(offset));
    if (offset % 2 === 0) standing.done(message(offset));
    else standing.released(message(offset));
  }
  expect(standing.away).toBe(10_000);
  // The newest ten thousand are known to be done, the others are the broker's to say.
  expect(standing.count("orders", 0, 0, 50_000)).toBe(40_000);
  expect(standing.count("orders", 0, 40_000, 50_000)).toBe(0);
});
