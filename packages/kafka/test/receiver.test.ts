import { turns } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { MOST_AHEAD } from "../src/progress.ts";
import { received } from "./fake-driver.ts";
import { Stage } from "./receiving.ts";

const upTo = (n: number): number[] => Array.from({ length: n }, (_, offset) => offset);

/** A record with a body of so many bytes. */
const large = (offset: number, bytes: number) => ({ ...received(offset), value: Buffer.alloc(bytes) });

/** The next three times that somebody asks for ranges, the leader says that it is none. */
async function unaware(stage: Stage): Promise<void> {
  const admin = await stage.driver.admin();
  let noes = 3;
  const asked = {
    ...admin,
    ranges: (topic: string) =>
      noes-- > 0
        ? Promise.reject(Object.assign(new Error("not the leader"), { type: "NOT_LEADER_FOR_PARTITION" }))
        : admin.ranges(topic),
  };
  stage.driver.admin = () => Promise.resolve(asked);
}

describe("reading ahead", () => {
  const share = 65_536 / 2;

  it("rule 22: a partition whose share of the bytes waits here is not fetched of, and the others are; handed out, it goes on", async () => {
    const stage = await new Stage().open({ credit: 3, options: { readAhead: 65_536 } });
    await stage.fetch(0, 0, 1, 2);
    stage.member.journal.length = 0;
    stage.member.events.fetched("orders", 0, [large(3, share / 2)]);
    await turns();
    expect(stage.member.journal).toEqual([]);
    // Fewer than the credit, and all of its share.
    stage.member.events.fetched("orders", 0, [large(4, share / 2)]);
    stage.member.events.fetched("orders", 1, [large(0, share / 4)]);
    await turns();
    expect(stage.member.journal).toEqual(["pause orders/0"]);
    await stage.ack(0, 1, 2);
    expect(stage.member.journal).toEqual(["pause orders/0", "resume orders/0"]);
  });

  it("rule 22: is not resumed while half of its share waits, however few they are", async () => {
    const stage = await new Stage().open({ credit: 3, options: { readAhead: 65_536 } });
    await stage.fetch(0, 0, 1, 2);
    stage.member.events.fetched("orders", 0, [received(3), large(4, share)]);
    await turns();
    expect(stage.member.journal.at(-1)).toBe("pause orders/0");
    await stage.ack(0);
    expect(stage.offsets).toEqual([0, 1, 2, 3]);
    expect(stage.member.journal.at(-1)).toBe("pause orders/0");
    await stage.ack(1);
    expect(stage.member.journal.at(-1)).toBe("resume orders/0");
  });

  it("rule 22: is twice readAhead in the memory bound, and of many partitions less is fetched of each at a time", async () => {
    const stage = await new Stage().open({ options: { readAhead: 1_000_000 } });
    const { traits } = stage.driver.transport({ readAhead: 1_000_000 });
    expect(traits.aheadBytes).toBe(2_000_000);
    // Two topics of two partitions each.
    expect(stage.member.plan.fetchBytes).toBe(250_000);
  });

  it("a message that is larger than any share comes all the same, alone", async () => {
    const stage = await new Stage().open({ credit: 1, options: { readAhead: 65_536 } });
    for (const offset of [0, 1, 2]) {
      stage.member.events.fetched("orders", 0, [large(offset, 1_000_000)]);
      await turns();
      expect(stage.offsets.at(-1)).toBe(offset);
      await stage.ack(offset);
    }
  });
});

describe("joining", () => {
  it("begins each partition where the group is, before anything of it is fetched", async () => {
    const stage = new Stage();
    stage.driver.committed.set("orders/0", { partition: 0, offset: 40, metadata: "" });
    stage.driver.ranges.set("orders/1", { partition: 1, low: 7, high: 90 });
    await stage.open();
    expect(stage.member.journal).toEqual([
      "seek orders/0 40",
      "resume orders/0",
      // Without a commit: at the oldest message that is there.
      "seek orders/1 7",
      "resume orders/1",
    ]);
    expect(stage.member.plan).toEqual({
      group: "orders.billing",
      topics: ["orders", "orders.billing.copies"],
      card: null,
      fetchBytes: 262_144,
    });
  });

  it("waits for a leader that does not know yet that it is", async () => {
    const stage = new Stage();
    await unaware(stage);
    const opening = stage.open();
    for (let n = 0; n < 5; n++) {
      await turns();
      await stage.driver.clock.advance(50);
    }
    await opening;
    await stage.fetch(0, 0);
    expect(stage.offsets).toEqual([0]);
  });

  it("and so does whoever counts the backlog", async () => {
    const stage = new Stage();
    const { admin } = stage.driver.transport({});
    await unaware(stage);
    const counting = admin.backlog("orders", "billing", AbortSignal.timeout(10_000));
    for (let n = 0; n < 5; n++) {
      await turns();
      await stage.driver.clock.advance(50);
    }
    expect(await counting).toBeGreaterThan(0);
  });

  it("does not hand out again what the metadata of the commit says is done", async () => {
    const first = await new Stage().open();
    await first.fetch(0, 0, 1, 2, 3);
    await first.ack(1, 3);
    await first.receiver[Symbol.asyncDispose]();
    const second = new Stage();
    for (const [at, committed] of first.driver.committed) second.driver.committed.set(at, committed);
    await second.open();
    await second.fetch(0, 0, 1, 2, 3);
    expect(second.offsets).toEqual([0, 2]);
  });
});

describe("handing out", () => {
  it("keeps to the credit, and goes on as acks come", async () => {
    const stage = await new Stage().open({ credit: 3 });
    await stage.fetch(0, 0, 1, 2, 3, 4);
    expect(stage.offsets).toEqual([0, 1, 2]);
    await stage.ack(1);
    expect(stage.offsets).toEqual([0, 1, 2, 3]);
    await stage.ack(1, 0, 2, 3);
    expect(stage.offsets).toEqual([0, 1, 2, 3, 4]);
  });

  it("asks the broker for no more of a partition while enough waits here", async () => {
    const stage = await new Stage().open({ credit: 4 });
    await stage.fetch(0, ...upTo(10));
    expect(stage.member.journal.at(-1)).toBe("pause orders/0");
    await stage.ack(0, 1, 2, 3);
    expect(stage.member.journal.at(-1)).toBe("pause orders/0");
    await stage.ack(4, 5, 6, 7);
    expect(stage.member.journal.at(-1)).toBe("resume orders/0");
  });

  it("takes partitions in turn", async () => {
    const stage = await new Stage().open({ credit: 4 });
    stage.member.fetch("orders", 0, 0, 1, 2, 3);
    await stage.fetch(1, 100, 101);
    expect(stage.offsets.toSorted((a, b) => a - b)).toEqual([0, 1, 100, 101]);
  });

  it("waits for the oldest message when the others are too far ahead to be remembered", async () => {
    const stage = await new Stage().open({ credit: 1_000 });
    const all = upTo(MOST_AHEAD + 100);
    stage.member.fetch("orders", 0, ...all);
    await turns();
    for (let at = 1; stage.got.length < MOST_AHEAD && at < MOST_AHEAD; at += 900) {
      stage.receiver.settle(stage.got.slice(at, at + 900).map((delivery) => ({ kind: "ack", delivery })));
      await turns();
    }
    stage.receiver.settle(stage.got.slice(1).map((delivery) => ({ kind: "ack", delivery })));
    await stage.driver.clock.advance(10);
    expect(stage.got).toHaveLength(MOST_AHEAD);
    expect(stage.member.last(0)!.metadata.length).toBeLessThanOrEqual(4_096);
    await stage.ack(0);
    expect(stage.got).toHaveLength(MOST_AHEAD + 100);
  });

  it("stops at once at stop, and settling goes on", async () => {
    const stage = await new Stage().open({ credit: 2 });
    await stage.fetch(0, 0, 1, 2);
    await stage.receiver.stop();
    await stage.ack(0, 1);
    await stage.fetch(0, 3);
    expect(stage.offsets).toEqual([0, 1]);
    expect(stage.member.last(0)!.offset).toBe(2);
    expect(stage.member.journal.slice(-2)).toEqual(["pause orders/0", "pause orders/1"]);
  });

  it("leaves a paused lane alone until it is resumed", async () => {
    const stage = await new Stage().open();
    await stage.fetch(0, 0);
    stage.receiver.pause(stage.got[0]!.lane);
    await stage.fetch(0, 1);
    expect(stage.offsets).toEqual([0]);
    stage.receiver.resume(stage.got[0]!.lane);
    await turns();
    expect(stage.offsets).toEqual([0, 1]);
  });
});

describe("the client", () => {
  it("that has crashed is a lost session, once", async () => {
    const stage = await new Stage().open();
    await stage.fetch(0, 0);
    stage.receiver.settle([{ kind: "ack", delivery: stage.got[0]! }]);
    stage.member.events.crashed(new Error("gave up"));
    stage.member.events.crashed(new Error("gave up"));
    await stage.driver.clock.advance(1_000);
    expect(stage.member.commits).toEqual([]);
    expect(stage.said).toEqual(["unsettled 0", "lost session-lost"]);
    expect(stage.member.journal.at(-1)).toBe("close");
    expect(stage.driver.clock.pending()).toBe(0);
  });

  it("that hangs without a word is taken for dead after three session time-outs", async () => {
    const stage = await new Stage().open({ options: { sessionTimeout: "6s", heartbeat: "1s" } });
    for (let n = 0; n < 20; n++) {
      await stage.driver.clock.advance(5_000);
      stage.member.events.alive();
    }
    expect(stage.said).toEqual([]);
    await stage.driver.clock.advance(30_000);
    expect(stage.said).toEqual(["lost session-lost"]);
  });
});

describe("a received message", () => {
  it("of a batch that cannot be read is surfaced with the first of it, and is handed out like the others", async () => {
    const stage = await new Stage().open();
    const of = (offset: number, value: Buffer) => ({ ...received(offset), value, unreadable: "a gzip bomb" });
    stage.member.events.fetched("orders", 0, [of(4, Buffer.from("batch")), of(5, Buffer.alloc(0)), received(6)]);
    await turns();
    expect(stage.said).toEqual(["surfaced orders/0: a gzip bomb; its messages, from offset 4 on, cannot be read"]);
    expect(stage.got.map(({ message }) => message.contentEncoding)).toEqual(["kafka-batch", "kafka-batch", null]);
  });

  it("is out for as long as it is not settled, and no longer than its partition is here", async () => {
    const stage = await new Stage().open();
    await stage.fetch(0, 0, 1, 2);
    await stage.ack(0);
    const outNow = async () => await Promise.all(stage.got.map((one) => stage.receiver.extend(one, 1_000)));
    expect(await outNow()).toEqual([false, true, true]);
    await stage.rebalance(1);
    expect(await outNow()).toEqual([false, false, false]);
  });

  it("with a spoofed header of ours is read as if it were not there, and surfaced once", async () => {
    const stage = await new Stage().open();
    const spoofed = (offset: number) => ({
      ...received(offset),
      headers: { "tally-attempt": Buffer.from("1e308"), "tally-seq": Buffer.from("x") },
    });
    stage.member.events.fetched("orders", 0, [spoofed(0), spoofed(1)]);
    await turns();
    expect(stage.got.map(({ message }) => [message.attempt, message.seq])).toEqual([
      [1, null],
      [1, null],
    ]);
    expect(stage.said).toHaveLength(1);
    expect(stage.said[0]).toMatch(/tally-seq and a tally-attempt/);
  });

  it("has a place by which foreign ones are told apart", async () => {
    const stage = await new Stage().open();
    await stage.fetch(1, 12);
    expect(stage.got[0]!.place).toBe("orders/1/12");
  });
});
