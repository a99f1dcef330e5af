import { memory, memoryInbox, memoryOutbox } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { openTally, topic } from "../../src/index.ts";
import { away, nack, rig } from "../support/scripted-transport.ts";

const plain = topic<string>("plain");

describe("what health() asks the publisher", () => {
  it("since when there is no session, and since when it is blocked", async () => {
    const r = rig();
    const start = r.clock.now();
    expect(r.publisher.status()).toMatchObject({ destination: "scripted", downSince: start, blockedSince: null });
    await r.clock.advance(0);
    expect(r.publisher.status().downSince).toBeNull();
    await r.clock.advance(5_000);
    r.sessions[0]?.events.blocked("memory alarm");
    await r.clock.advance(3_000);
    r.sessions[0]?.events.blocked("disk alarm");
    expect(r.publisher.status().blockedSince).toBe(start + 5_000);
    r.sessions[0]?.events.unblocked();
    expect(r.publisher.status().blockedSince).toBeNull();
    r.away = away;
    r.sessions[0]?.lose();
    const lost = r.clock.now();
    await r.clock.advance(20_000);
    expect(r.publisher.status().downSince).toBe(lost);
    r.away = null;
    await r.clock.runUntil(() => r.sessions.length === 2, 5_000);
    expect(r.publisher.status().downSince).toBeNull();
  });

  it("since when the oldest publish() waits, also for its place in the window, and which topics are not taken", async () => {
    const r = rig({ window: 1, deadline: "1h" });
    await r.clock.advance(1_000);
    const first = r.clock.now();
    r.atOnce = () => nack();
    void r.publisher.publish(plain, "a").catch(() => {});
    await r.clock.advance(5_000);
    void r.publisher.publish(plain, "b").catch(() => {});
    await r.clock.advance(600_000);
    const status = r.publisher.status();
    expect(status.oldestSince).toBe(first);
    expect(status.breakers).toMatchObject([{ topic: "plain" }]);
  });
});

describe("tally.health()", () => {
  it("asks everything that the tally has", async () => {
    const outbox = memoryOutbox();
    const inbox = memoryInbox();
    await using tally = await openTally({ service: "shop", broker: memory(), outbox, inbox });
    await using _consumer = await tally
      .consumer("billing")
      .on(plain, () => {})
      .start();
    expect(await tally.health()).toMatchObject({ status: "ok", ready: true });
    const nowhere = topic<string>("nowhere", { outbox: "always" });
    await tally.publish(nowhere, "x");
    await expect.poll(async () => (await tally.health()).status).toBe("degraded");
    expect((await tally.health()).checks.find(({ name }) => name === "parked")?.findings).toHaveLength(1);
    await tally.close();
    expect(await tally.health()).toMatchObject({ status: "failing", ready: false });
  });

  it("keeps to the limits that it was given, and refuses what is none", async () => {
    for (const health of [{ stuckAfter: 0 }, { answerWithin: "1h" }, { stuck: "1s" }, { growingRows: 0 }])
      await expect(openTally({ service: "shop", broker: memory(), health: health as never })).rejects.toMatchObject({
        code: "bad-config",
      });
  });
});
