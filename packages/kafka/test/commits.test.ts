import { describe, expect, it } from "vitest";
import { turns } from "@tallymq/testkit";
import { Stage } from "./receiving.ts";

describe("commits", () => {
  it("go out together, of the prefix only", async () => {
    const stage = await new Stage().open();
    await stage.fetch(0, 0, 1, 2);
    await stage.fetch(1, 10, 11);
    await stage.ack(2, 10);
    expect(stage.member.commits).toHaveLength(1);
    expect(stage.member.last(0)!.offset).toBe(0);
    expect(stage.member.last(1)!.offset).toBe(11);
    await stage.ack(0, 1);
    expect(stage.member.last(0)).toMatchObject({ offset: 3, metadata: "" });
  });

  it("that fail are tried again", async () => {
    const stage = await new Stage().open();
    await stage.fetch(0, 0);
    stage.member.refuse = new Error("broken pipe");
    await stage.ack(0);
    await stage.driver.clock.advance(100);
    // Not again and again: the broker may be the reason.
    expect(stage.member.commits).toHaveLength(1);
    stage.member.refuse = null;
    expect(stage.driver.committed.size).toBe(0);
    await stage.driver.clock.advance(1_000);
    expect(stage.driver.committed.get("orders/0")).toMatchObject({ offset: 1 });
    expect(stage.said).toEqual([]);
  });

  it("of what was settled last are flushed before the member leaves", async () => {
    const stage = await new Stage().open();
    await stage.fetch(0, 0, 1);
    stage.receiver.settle([{ kind: "ack", delivery: stage.got[0]! }]);
    await stage.receiver[Symbol.asyncDispose]();
    expect(stage.driver.committed.get("orders/0")).toMatchObject({ offset: 1 });
    expect(stage.member.journal.at(-1)).toBe("close");
  });

  it("go one at a time: a later one that were taken first would be undone by the earlier", async () => {
    const stage = await new Stage().open();
    await stage.fetch(0, 0, 1, 2);
    const answer = Promise.withResolvers<void>();
    stage.member.answered = answer.promise;
    await stage.ack(0);
    await stage.ack(1);
    await stage.driver.clock.advance(5_000);
    expect(stage.member.commits).toHaveLength(1);
    answer.resolve();
    await turns();
    await stage.driver.clock.advance(10);
    expect(stage.member.commits).toHaveLength(2);
    expect(stage.driver.committed.get("orders/0")).toMatchObject({ offset: 2 });
  });

  it("cover what was acked when they went out: what was acked since is told, if the session ends", async () => {
    const stage = await new Stage().open();
    await stage.fetch(0, 0, 1, 2);
    const answer = Promise.withResolvers<void>();
    stage.member.answered = answer.promise;
    await stage.ack(0);
    await stage.ack(1);
    answer.resolve();
    await turns();
    stage.member.events.crashed(new Error("gave up"));
    expect(stage.said).toEqual(["unsettled 1", "lost session-lost"]);
  });

  it("pass no message that was given back instead of acked", async () => {
    const stage = await new Stage().open();
    await stage.fetch(0, 0, 1, 2);
    stage.receiver.settle([{ kind: "release", delivery: stage.got[0]!, afterMs: 0 }]);
    await stage.ack(1, 2);
    await stage.receiver[Symbol.asyncDispose]();
    expect(stage.driver.committed.get("orders/0")).toMatchObject({ offset: 0 });
  });

  it("never carry an ack into a generation that begins in its turn: kafkajs has taken it up before it says so", async () => {
    const stage = await new Stage().open();
    await stage.fetch(0, 0);
    stage.receiver.settle([{ kind: "ack", delivery: stage.got[0]! }]);
    for (let n = 0; n < 100; n++) await Promise.resolve();
    expect(stage.member.commits).toEqual([]);
    await stage.rebalance(1);
    await stage.driver.clock.advance(1_000);
    expect(stage.member.commits).toEqual([]);
    expect(stage.said).toEqual(["revoked 1 lanes", "unsettled 0"]);
  });
});
