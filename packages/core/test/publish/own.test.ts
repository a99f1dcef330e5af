import { describe, expect, it } from "vitest";
import { TallyError } from "../../src/error.ts";
import { topic } from "../../src/topic.ts";
import { accepted, rig, watch } from "../support/scripted-transport.ts";

const plain = topic<string>("plain", { groups: ["a", "b"] });

describe("what core publishes itself", () => {
  it("says of itself what a call cannot: producer, group, delay, attempt, and where it stood in its own run", async () => {
    const r = rig({ traits: { longestDelay: 60_000 } });
    const own = { producer: "other", run: "r1", seq: 9, group: "b", delayMs: 1_500, attempt: 4, time: 17 };
    void r.publisher.publish(plain, "a", { id: "p1", headers: { tenant: "x" } }, own);
    await r.clock.advance(0);
    expect(r.copies[0]?.message).toMatchObject({ ...own, id: "p1", topic: "plain" });
    void r.publisher.publish(plain, "b", { id: "p2" });
    await r.clock.advance(0);
    expect(r.copies[1]?.message).toMatchObject({ producer: "shop", seq: 1, group: null, delayMs: 0, attempt: 1 });
  });

  it("goes to two groups at once under one id: each gets its copy", async () => {
    const r = rig();
    const copies = ["a", "b", null].map((group) => watch(r.publisher.publish(plain, "a", { id: "p1" }, { group })));
    await r.clock.advance(0);
    expect(r.copies.map(({ message }) => message.group).toSorted()).toEqual(["a", "b", null]);
    for (const copy of r.copies) copy.verdict(accepted);
    await r.clock.advance(0);
    expect(copies.map(({ state }) => state)).toEqual(["resolved", "resolved", "resolved"]);
    expect(r.count("joined")).toBe(0);
  });

  it("has the broker make what delays need before the first one is sent, and again only for a longer one", async () => {
    const r = rig({ traits: { longestDelay: 60_000 } });
    const send = async (delayMs: number): Promise<void> => {
      void r.publisher.publish(plain, "a", {}, { group: "a", delayMs });
      await r.clock.advance(0);
    };
    await send(0);
    expect(r.declared).toEqual(["plain"]);
    await send(900);
    await send(1_000);
    await send(1_024);
    expect(r.declared.slice(1)).toEqual(["plain", "plain delayed by 1024"]);
    await send(59_000);
    expect(r.declared.slice(3)).toEqual(["plain", "plain delayed by 60000"]);
    expect(r.copies).toHaveLength(5);
  });

  it("where delays cannot be declared, what goes out at once still does", async () => {
    const r = rig({ traits: { longestDelay: 60_000 } });
    r.refuseTopic.set("plain delayed", new TallyError("unauthorized", "no right to declare it"));
    const late = watch(r.publisher.publish(plain, "a", {}, { group: "a", delayMs: 900 }));
    const now = watch(r.publisher.publish(plain, "b"));
    await r.clock.advance(0);
    expect(late).toMatchObject({ state: "rejected", error: { code: "unauthorized", mayArrive: false } });
    r.copies[0]?.verdict(accepted);
    await r.clock.advance(0);
    expect(now.state).toBe("resolved");
  });

  it("its delays are declared anew on a successor: the broker may have come back without them", async () => {
    const r = rig({ traits: { longestDelay: 60_000 } });
    void r.publisher.publish(plain, "a", {}, { group: "a", delayMs: 900 });
    await r.clock.advance(0);
    r.sessions[0]?.lose();
    await r.clock.runUntil(() => r.copies.length === 2, 3_000);
    expect(r.declared.filter((what) => what === "plain delayed by 1024")).toHaveLength(2);
  });
});
