import { describe, expect, it } from "vitest";
import { turns } from "@tallymq/testkit";
import { FakeDriver } from "./fake-driver.ts";
import { Stage } from "./receiving.ts";

describe("a rebalance", () => {
  it("fences: what was settled of a partition that is gone is not committed, and is told", async () => {
    const stage = await new Stage().open();
    await stage.fetch(0, 0, 1);
    stage.member.refuse = Object.assign(new Error("rebalancing"), { type: "REBALANCE_IN_PROGRESS" });
    await stage.ack(0);
    stage.member.refuse = null;
    const before = stage.member.commits.length;
    await stage.rebalance(1);
    expect(stage.said).toEqual(["revoked 1 lanes", "unsettled 0"]);
    await stage.ack(1);
    await stage.driver.clock.advance(1_000);
    expect(stage.member.commits).toHaveLength(before);
  });

  it("frees the credit of what is gone", async () => {
    const stage = await new Stage().open({ credit: 2 });
    await stage.fetch(0, 0, 1);
    await stage.rebalance(1);
    await stage.fetch(1, 50, 51);
    expect(stage.offsets).toEqual([0, 1, 50, 51]);
  });

  it("leaves alone a partition that the member keeps: what is out stays valid, and nothing comes twice", async () => {
    const stage = await new Stage().open({ credit: 2 });
    await stage.fetch(0, 0, 1, 2);
    await stage.ack(0);
    await stage.rebalance(0);
    expect(stage.said).toEqual(["revoked 1 lanes"]);
    expect(stage.member.journal.slice(-2)).toEqual(["seek orders/0 3", "resume orders/0"]);
    await stage.ack(1, 2);
    expect(stage.offsets).toEqual([0, 1, 2]);
    expect(stage.member.last(0)).toMatchObject({ offset: 3, metadata: "" });
  });

  it("begins a partition anew when somebody else has been there in between; what was out counts no more", async () => {
    const stage = await new Stage().open();
    await stage.fetch(0, 0, 1, 2);
    await stage.ack(0);
    stage.driver.committed.set("orders/0", { partition: 0, offset: 1, metadata: "another's" });
    const before = stage.member.commits.length;
    await stage.rebalance(0, 1);
    expect(stage.said[0]).toBe("revoked 1 lanes");
    expect(stage.member.journal).toContain("seek orders/0 1");
    const stale = stage.got.slice(1);
    await stage.fetch(0, 1, 2);
    expect(stage.offsets).toEqual([0, 1, 2, 1, 2]);
    stage.receiver.settle(stale.map((delivery) => ({ kind: "ack", delivery })));
    await stage.driver.clock.advance(1_000);
    expect(stage.member.commits).toHaveLength(before);
  });

  it("commits nothing until it is known where the group is", async () => {
    const stage = await new Stage().open();
    await stage.fetch(0, 0);
    const known = Promise.withResolvers<void>();
    stage.driver.gate = known.promise;
    stage.member.events.joined(new Map([["orders", [0]]]));
    await stage.ack(0);
    expect(stage.member.commits).toEqual([]);
    known.resolve();
    await turns();
    await stage.driver.clock.advance(10);
    expect(stage.member.last(0)!.offset).toBe(1);
  });
});

describe("from a join until it is known where the group is", () => {
  it("what is gone is revoked at once, and nothing is handed out of the rest", async () => {
    const stage = await new Stage().open({ credit: 1 });
    await stage.fetch(0, 0, 1);
    await stage.fetch(1, 50);
    const known = Promise.withResolvers<void>();
    stage.driver.gate = known.promise;
    stage.member.events.joined(new Map([["orders", [0]]]));
    expect(stage.said).toEqual(["revoked 1 lanes"]);
    await stage.ack(0);
    expect(stage.offsets).toEqual([0]);
    known.resolve();
    await turns();
    expect(stage.offsets).toEqual([0, 1]);
  });

  it("nobody looks while a commit is out: it could be taken after the look", async () => {
    const stage = await new Stage().open();
    await stage.fetch(0, 0);
    const answer = Promise.withResolvers<void>();
    stage.member.answered = answer.promise;
    await stage.ack(0);
    stage.member.journal.length = 0;
    await stage.rebalance(0, 1);
    expect(stage.member.journal).toEqual([]);
    answer.resolve();
    await turns();
    expect(stage.member.journal).toContain("seek orders/0 1");
    expect(stage.said).toEqual([]);
  });

  it("another join makes the first look worth nothing", async () => {
    const stage = await new Stage().open();
    const known = Promise.withResolvers<void>();
    stage.driver.gate = known.promise;
    await stage.rebalance(0);
    stage.driver.gate = Promise.resolve();
    stage.member.journal.length = 0;
    await stage.rebalance(1);
    known.resolve();
    await turns();
    expect(stage.member.journal).toEqual(["seek orders/1 0", "resume orders/1"]);
    await stage.fetch(1, 0);
    expect(stage.offsets).toEqual([0]);
  });
});

describe("a partition of which enough waits here", () => {
  const full = async (): Promise<Stage> => {
    const stage = await new Stage().open({ credit: 2 });
    await stage.fetch(0, 0, 1, 2, 3, 4, 5);
    expect(stage.member.journal.at(-1)).toBe("pause orders/0");
    stage.member.journal.length = 0;
    return stage;
  };

  it("is paused again when the group has rebalanced, which resumes it", async () => {
    const stage = await full();
    await stage.rebalance(0);
    expect(stage.member.journal).toEqual(["seek orders/0 6", "resume orders/0", "pause orders/0"]);
  });

  it("and so it is after a fetch that strayed", async () => {
    const stage = await full();
    stage.member.events.strayed("orders", 0);
    await turns();
    await stage.fetch(0, 6);
    expect(stage.member.journal).toEqual(["seek orders/0 6", "resume orders/0", "pause orders/0"]);
  });
});

describe("a gap", () => {
  const gone = (driver: FakeDriver): void => {
    driver.committed.set("orders/0", { partition: 0, offset: 5, metadata: "" });
    driver.ranges.set("orders/0", { partition: 0, low: 9, high: 20 });
  };

  it("is surfaced with from and to, and by default ends the consumer instead of being passed over", async () => {
    const stage = new Stage();
    gone(stage.driver);
    await expect(stage.open()).rejects.toMatchObject({
      code: "topology",
      retryable: false,
      message: expect.stringMatching(/messages 5 to 8 of orders\/0 are gone.*billing.*offsetReset/),
    });
    expect(stage.said).toEqual(["gap 5-9"]);
    expect(stage.member.commits).toEqual([]);
    expect(stage.member.journal).toEqual(["close"]);
  });

  it.each([
    ["earliest", 9],
    ["latest", 20],
  ] as const)("with offsetReset %s goes on at %i, surfaced", async (offsetReset, at) => {
    const stage = new Stage();
    gone(stage.driver);
    await stage.open({ options: { offsetReset } });
    expect(stage.said).toEqual([`gap 5-${at}`]);
    expect(stage.member.journal).toContain(`seek orders/0 ${at}`);
  });

  it("is also an offset beyond the end: a topic that was made anew", async () => {
    const stage = new Stage();
    stage.driver.committed.set("orders/0", { partition: 0, offset: 50, metadata: "" });
    stage.driver.ranges.set("orders/0", { partition: 0, low: 0, high: 20 });
    await expect(stage.open()).rejects.toMatchObject({ message: expect.stringContaining("ends at 20") });
  });

  it("that opens while it consumes ends the session, and nothing is committed past it", async () => {
    const stage = await new Stage().open();
    await stage.fetch(0, 0);
    stage.driver.ranges.set("orders/0", { partition: 0, low: 30, high: 40 });
    // As the client resets it by itself.
    stage.driver.committed.set("orders/0", { partition: 0, offset: 30, metadata: "" });
    stage.member.events.strayed("orders", 0);
    await turns();
    expect(stage.said).toEqual(["gap 1-30", "lost topology"]);
    // Who starts next finds the gap, too.
    expect(stage.driver.committed.get("orders/0")).toMatchObject({ offset: 0 });
  });

  it.each([
    ["earliest", 0, [0, 1, 2, 3]],
    ["latest", 4, [4, 5]],
  ] as const)(
    "of a log that ends before where the group was (made anew): with %s it goes on at %i",
    async (offsetReset, to, then) => {
      const stage = await new Stage().open({ options: { offsetReset } });
      await stage.fetch(0, 0, 1, 2, 3, 4, 5, 6, 7);
      await stage.ack(0, 1, 2, 3, 4, 5);
      const old = stage.got.slice(6);
      stage.driver.ranges.set("orders/0", { partition: 0, low: 0, high: 4 });
      stage.member.events.strayed("orders", 0);
      await turns();
      expect(stage.said[0]).toBe(`gap 8-${to}`);
      expect(stage.member.journal.slice(-2)).toEqual([`seek orders/0 ${to}`, "resume orders/0"]);
      stage.got.length = 0;
      await stage.fetch(0, ...then);
      expect(stage.offsets).toEqual(then);
      // What is out of the old log has no place in the new one.
      stage.receiver.settle(old.map((delivery) => ({ kind: "ack", delivery })));
      await stage.ack(then[0]);
      expect(stage.member.last(0)).toMatchObject({ offset: then[1], metadata: "" });
    },
  );

  it("that two fetches ran into is one", async () => {
    const stage = await new Stage().open({ credit: 3, options: { offsetReset: "earliest" } });
    await stage.fetch(0, 7, 8);
    stage.driver.ranges.set("orders/0", { partition: 0, low: 0, high: 4 });
    stage.member.events.strayed("orders", 0);
    stage.member.events.strayed("orders", 0);
    await turns();
    expect(stage.said).toEqual(["gap 9-0", "revoked 1 lanes"]);
    await stage.fetch(0, 0, 1, 2, 3);
    expect(stage.offsets).toEqual([7, 8, 0, 1, 2]);
  });

  it("is none when a fetch of an earlier assignment was late: it goes on where it was", async () => {
    const stage = await new Stage().open();
    await stage.fetch(0, 0, 1);
    stage.member.events.strayed("orders", 0);
    await turns();
    expect(stage.said).toEqual([]);
    expect(stage.member.journal.slice(-2)).toEqual(["seek orders/0 2", "resume orders/0"]);
  });

  it("of a partition that is another's by the time it is found is nothing to this member", async () => {
    const stage = await new Stage().open();
    await stage.fetch(0, 0);
    stage.driver.ranges.set("orders/0", { partition: 0, low: 30, high: 40 });
    const asked = Promise.withResolvers<void>();
    stage.driver.rangesGate = asked.promise;
    stage.member.events.strayed("orders", 0);
    await turns();
    stage.driver.rangesGate = Promise.resolve();
    await stage.rebalance(1);
    stage.member.journal.length = 0;
    asked.resolve();
    await turns();
    expect(stage.said).toEqual(["revoked 1 lanes"]);
    expect(stage.member.journal).toEqual([]);
  });
});
