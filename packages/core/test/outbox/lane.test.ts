import { memoryOutbox } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { open, ordered, outage, plain } from "../support/spilling.ts";
import { type RigOptions } from "../support/scripted-transport.ts";

/** A broker of eight partitions, whose lanes begin at another number in each process. */
function partitions(first: number, choice: number): RigOptions {
  return {
    lane: (_, kept) => first + (kept === null ? choice : kept % 8),
    kept: (lane) => lane - first,
  };
}

describe("where a row goes", () => {
  it("a copy in doubt went to a partition, and another process, with other numbers, sends the next one there too", async () => {
    const outbox = memoryOutbox();
    const first = await open(partitions(10, 3), outbox);
    await first.settle();
    void first.r.publisher.publish(plain, { key: "a", n: 1 }, { id: "m1" });
    await first.settle();
    await outage(first);
    expect(first.r.copies.map(({ lane }) => lane)).toEqual([13]);
    expect(outbox.rows.map(({ doubtful, lane }) => [doubtful, lane])).toEqual([[true, 3]]);
    await first.r.clock.advance(5_000); // and gives up the lease
    await first.settle();

    const second = await open(partitions(50, 6), outbox);
    await second.settle();
    await second.accept();
    expect(second.r.copies.map(({ lane }) => lane)).toEqual([53]);
  });

  it("one that was never sent remembers nothing; without a key it goes by its place, so that each process sends it to the same", async () => {
    const outbox = memoryOutbox();
    const first = await open(partitions(10, 3), outbox);
    await first.settle();
    await outage(first);
    void first.r.publisher.publish(plain, { key: "a", n: 1 }, { id: "m1" });
    void first.r.publisher.publish(ordered, { key: "a", n: 2 }, { id: "m2" });
    await first.settle();
    expect(outbox.rows.map(({ lane }) => lane)).toEqual([null, null]);
    const { place } = outbox.rows[0]!;
    await first.r.clock.advance(5_000);
    await first.settle();

    const lanes: Record<string, number[]> = { m1: [], m2: [] };
    for (const choice of [5, 6]) {
      const next = await open(partitions(50, choice), outbox);
      await next.settle();
      for (const { message, lane } of next.r.copies) lanes[message.id]!.push(lane);
      // It dies with its copies out: nothing is said of them in the store.
      next.r.sessions.at(-1)?.lose();
      next.r.away = first.r.away;
      await next.r.clock.advance(10_000);
      await next.settle();
    }
    // A key has its partition from the sender each time.
    expect(lanes).toEqual({
      m1: [50 + (Math.floor(place / 256) % 8), 50 + (Math.floor(place / 256) % 8)],
      m2: [55, 56],
    });
  });
});
