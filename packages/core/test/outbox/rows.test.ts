import { memoryOutbox } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { TallyError } from "../../src/error.ts";
import { topic } from "../../src/topic.ts";
import { accepted } from "../support/scripted-transport.ts";
import { away, ids, open, ordered, outage, plain } from "../support/spilling.ts";

describe("a row", () => {
  it("rule 11: a row is relayed as it was stored, by a process that has never seen its topic", async () => {
    const outbox = memoryOutbox();
    const first = await open({}, outbox);
    await first.settle();
    await outage(first);
    const typed = topic<object>("typed", { type: "order.v1", key: () => "ada", ordered: true });
    const cause = { id: "c-0", correlationId: "c-9", headers: { traceparent: "00-aa-bb-01" } };
    void first.r.publisher.publish(
      typed,
      { n: 1 },
      { id: "m1", headers: { a: "1" }, cause, native: { expiration: 5_000 } },
    );
    await first.settle();
    await first.r.clock.advance(5_000); // and gives up the lease
    await first.settle();
    const [row] = outbox.rows;
    expect(row).toMatchObject({ destination: "scripted", doubtful: false });

    // Another service's process on the same store, with other topics, started later: nothing of it gets into the row.
    const second = await open({}, outbox);
    await second.settle();
    await second.accept();
    expect(second.r.copies).toHaveLength(1);
    const { message } = second.r.copies[0]!;
    expect(message).toEqual(row!.message);
    expect(message).toMatchObject({
      id: "m1",
      producer: "shop",
      run: "a".repeat(32),
      seq: 1,
      topic: "typed",
      type: "order.v1",
      key: "ada",
      ordered: true,
      correlationId: "c-9",
      causationId: "c-0",
      headers: { a: "1", traceparent: "00-aa-bb-01" },
      native: { expiration: 5_000 },
    });
    expect(new TextDecoder().decode(message.body)).toBe('{"n":1}');
    expect(outbox.rows).toHaveLength(0);
  });

  it("that the broker has is deleted before the lease is over, though its deletion was to wait for others", async () => {
    const outbox = memoryOutbox();
    const first = await open({}, outbox);
    await first.settle();
    await outage(first);
    for (const n of [1, 2]) void first.r.publisher.publish(plain, { key: "a", n }, { id: `m${n}` });
    await first.settle();
    await first.r.clock.advance(5_000); // and gives up the lease
    const second = await open({}, outbox);
    await second.settle();
    second.r.copies.find(({ message }) => message.id === "m1")?.verdict(accepted);
    expect(outbox.rows.map(({ message }) => message.id)).toEqual(["m1", "m2"]);
    const closing = second.r.publisher.close(0);
    await second.settle();
    expect(outbox.rows.map(({ message }) => message.id)).toEqual(["m2"]);
    await second.r.clock.advance(5_000);
    await closing;
  });

  it.each(["unroutable", "refused"] as const)(
    "rule 11: one that is %s at the relay is parked with why, counted, and never deleted",
    async (kind) => {
      const outbox = memoryOutbox();
      const s = await open({}, outbox);
      await s.settle();
      await outage(s);
      void s.r.publisher.publish(ordered, { key: "a", n: 1 }, { id: "a1" });
      await s.settle();
      s.r.away = null;
      s.r.atOnce = ({ message }) =>
        message.id === "a1" ? { kind, error: new TallyError(kind, "not there") } : accepted;
      await s.r.clock.advance(5_000);
      await s.settle();
      expect(outbox.parked.map((p) => [p.row.message.id, p.code])).toEqual([["a1", kind]]);
      expect(s.r.count("parked")).toBe(1);
      await s.r.clock.advance(3_600_000);
      await s.settle();
      expect(outbox.parked).toHaveLength(1);
      expect(ids(s.r)).toEqual(["a1"]);
    },
  );
});

describe("a relay", () => {
  it("rule 11: a relay whose session is unhealthy gives up its lease after 5 s, and not before", async () => {
    const outbox = memoryOutbox();
    const [one, two] = [await open({}, outbox), await open({}, outbox)];
    await one.settle();
    await two.settle();
    one.r.away = away;
    one.r.sessions.at(-1)?.lose();
    await one.r.clock.advance(1_010);
    void one.r.publisher.publish(plain, { key: "a", n: 1 }, { id: "m1" });
    await one.settle();
    const relayedByTwo = async (): Promise<readonly string[]> => {
      await two.r.clock.advance(1_000);
      await two.accept();
      return ids(two.r);
    };
    await one.r.clock.advance(3_980);
    await one.settle();
    expect(await relayedByTwo()).toEqual([]);
    await one.r.clock.advance(20);
    await one.settle();
    expect(await relayedByTwo()).toEqual(["m1"]);
    expect(one.r.events.filter((e) => e.type === "surfaced").map((e) => e.text)).toContain(
      "the relay gave up its lease: its session is not usable",
    );
  });

  it("rule 11: one whose session comes back within that time goes on, and nobody else takes over", async () => {
    const outbox = memoryOutbox();
    const [one, two] = [await open({}, outbox), await open({}, outbox)];
    await one.settle();
    await two.settle();
    await outage(one);
    void one.r.publisher.publish(plain, { key: "a", n: 1 }, { id: "m1" });
    await one.settle();
    one.r.away = null;
    await one.r.clock.runUntil(() => one.r.sessions.length === 2, 3_900);
    await one.settle();
    await two.r.clock.advance(10_000);
    await two.settle();
    await one.r.clock.advance(6_000);
    await one.accept();
    expect([ids(one.r), ids(two.r)]).toEqual([["m1"], []]);
  });
});
