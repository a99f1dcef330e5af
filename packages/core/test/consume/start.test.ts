import { describe, expect, test } from "vitest";
import { type ErrorCode, TallyError } from "../../src/error.ts";
import { topic } from "../../src/topic.ts";
import { bench, settle } from "../support/receiving.ts";

const orders = topic<{ id: string | null }>("orders", { key: () => "", ordered: true, groups: ["audit"] });
const bills = topic<{ id: string | null }>("bills");
const lost = (): TallyError => new TallyError("session-lost", "cut", { retryable: true });

describe("start()", () => {
  test("declares each topic with this group added, then opens one receiver a topic, and resolves when all are open", async () => {
    const b = bench();
    b.transport.outcomes.push(null, new TallyError("unreachable", "away", { retryable: true }));
    let started = false;
    const starting = b
      .consumer({ lanes: 2 })
      .on(orders, () => {})
      .on(bills, () => {})
      .start()
      .then(() => (started = true));
    await settle();
    expect(started).toBe(false);
    expect(b.transport.receivers).toHaveLength(1);
    await b.clock.advance(5_000);
    await starting;
    const plans = [
      { name: "orders", ordered: true, groups: ["audit", "billing"] },
      { name: "bills", ordered: false, groups: ["billing"] },
    ];
    expect(b.transport.declared).toEqual([[plans[0]], [plans[1]], [plans[1]]]); // once more in the successor session
    expect(b.transport.receivers.map(({ subscription }) => subscription)).toMatchObject([
      { topic: plans[0], group: "billing", credit: 100 },
      { topic: plans[1], group: "billing", credit: 100 },
    ]);
    expect(b.receiver.subscription.consumer).toMatch(/^shop-01234567-[0-9a-f]{6}$/);
    expect(b.of("session-opened")).toMatchObject([
      { role: "receive", what: "orders / billing" },
      { role: "receive", what: "bills / billing" },
    ]);
  });

  test.each<ErrorCode>(["topology", "unsupported", "unauthorized", "bad-config"])(
    "rejects with %s, which another try would not change, and leaves nothing behind",
    async (code) => {
      const b = bench();
      b.transport.outcomes.push(null, new TallyError(code, "no"));
      const starting = b
        .consumer()
        .on(orders, () => {})
        .on(bills, () => {})
        .start();
      await expect(starting).rejects.toMatchObject({ code });
      expect(b.receiver.disposed).toBe(true);
      expect(b.open.size).toBe(0);
      expect(b.clock.pending()).toBe(0);
    },
  );

  test.each<[ErrorCode, boolean]>([
    ["unauthorized", true],
    ["unreachable", true],
    ["session-lost", false],
  ])("tries again after %s (retryable: %s)", async (code, retryable) => {
    const b = bench();
    b.transport.outcomes.push(...Array.from({ length: 5 }, () => new TallyError(code, "not yet", { retryable })));
    const starting = b
      .consumer()
      .on(orders, () => {})
      .start();
    await b.clock.runUntil(() => b.transport.receivers.length > 0, 60_000);
    await starting;
    expect(b.of("reconnect")).toHaveLength(5);
  });

  test("after the first session, also a topology error is retried: somebody may mend it", async () => {
    const b = bench();
    await b
      .consumer()
      .on(orders, () => {})
      .start();
    b.transport.outcomes.push(new TallyError("topology", "queue is of another kind"));
    b.receiver.events.lost(lost());
    await b.clock.runUntil(() => b.transport.receivers.length === 2, 60_000);
  });

  test("rejects `closed` when it is closed meanwhile", async () => {
    const b = bench();
    b.transport.outcomes.push(new TallyError("unreachable", "away", { retryable: true }));
    const starting = b
      .consumer()
      .on(orders, () => {})
      .start();
    await settle();
    const [consumer] = b.open;
    await consumer!.close();
    await expect(starting).rejects.toMatchObject({ code: "closed" });
    expect(b.open.size).toBe(0);
    expect(b.clock.pending()).toBe(0);
  });
});
