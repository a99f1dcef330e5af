import { describe, expect, test } from "vitest";
import { release, retry } from "../src/consume/rulings.ts";
import { type ErrorCode, TallyError } from "../src/error.ts";
import { topic } from "../src/topic.ts";
import { bench, settle } from "./support/receiving.ts";

const orders = topic<{ id: string | null }>("orders", { key: () => "", ordered: true, groups: ["audit"] });
const bills = topic<{ id: string | null }>("bills");
const lost = (): TallyError => new TallyError("session-lost", "cut", { retryable: true });
const fail = (): never => {
  throw new Error("declined");
};

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

describe("a lost session", () => {
  test("unsettles what is unfinished: handlers finish, nothing is settled, deliveries flow again after the reconnect", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    const seen: string[] = [];
    await b
      .consumer({ lanes: 2 })
      .on(bills, async (_body, { id, deliveries }) => {
        seen.push(`${id}.${deliveries}`);
        if (deliveries === 1) await gate.promise;
      })
      .start();
    const first = b.receiver;
    first.deliver({ id: "m1" }, { id: "m2" }, { id: "m3" });
    first.events.lost(lost());
    expect(b.of("session-lost")).toHaveLength(1);
    await b.clock.runUntil(() => b.transport.receivers.length === 2, 10_000);
    b.receiver.deliver({ id: "m1", count: 2 }, { id: "m2", count: 2 }, { id: "m3", count: 2 });
    await settle();
    // The old handlers still hold both lanes; the one that had not begun never does.
    expect(seen).toEqual(["m1.1", "m2.1"]);
    gate.resolve();
    await settle();
    expect(seen).toEqual(["m1.1", "m2.1", "m1.2", "m2.2", "m3.2"]);
    expect(first.settled).toEqual([]);
    expect(b.receiver.settled).toEqual(["ack m1", "ack m2", "ack m3"]);
  });

  test("a key's redelivery waits for the handler of the lost session", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    const seen: string[] = [];
    await b
      .consumer()
      .on(orders, async (_body, { id, deliveries }) => {
        seen.push(`${id}.${deliveries}`);
        if (deliveries === 1) await gate.promise;
      })
      .start();
    b.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" });
    b.receiver.events.lost(lost());
    await b.clock.runUntil(() => b.transport.receivers.length === 2, 10_000);
    b.receiver.deliver({ id: "m1", key: "k", count: 2 }, { id: "m2", key: "k", count: 2 });
    await settle();
    expect(seen).toEqual(["m1.1"]);
    gate.resolve();
    await settle();
    expect(seen).toEqual(["m1.1", "m1.2", "m2.2"]);
  });

  test("ends the waits before an attempt and before a release at once: no timer, no settlement, no further attempt", async () => {
    const b = bench();
    let ran = 0;
    await b
      .consumer({ onError: (_e, { id }) => (id === "r" ? release({ after: "1h" }) : retry({ after: "1h" })) })
      .on(bills, () => {
        ran++;
        fail();
      })
      .start();
    b.receiver.deliver({ id: "r" }, { id: "m" });
    await settle();
    expect(b.clock.pending()).toBe(2);
    const first = b.receiver;
    first.events.lost(lost());
    await b.clock.runUntil(() => b.transport.receivers.length === 2, 10_000);
    expect(b.clock.pending()).toBe(0);
    await b.clock.advance(3_600_000);
    expect(ran).toBe(2);
    expect(first.settled).toEqual([]);
  });

  test("lets a handler that fails afterwards go without an attempt in place", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    let ran = 0;
    await b
      .consumer()
      .on(bills, () => {
        ran++;
        return gate.promise;
      })
      .start();
    b.receiver.deliver({ id: "m1" });
    b.receiver.events.lost(lost());
    gate.reject(new Error("late"));
    await b.clock.advance(60_000);
    expect(ran).toBe(1);
    expect(b.of("attempt-failed")).toHaveLength(1);
  });

  test("its deliveries, events and settlements that come afterwards change nothing", async () => {
    const b = bench();
    const seen: unknown[] = [];
    await b
      .consumer()
      .on(bills, (_body, { id }) => void seen.push(id))
      .start();
    const first = b.receiver;
    first.events.lost(lost());
    first.events.lost(lost());
    first.deliver({ id: "ghost" });
    await b.clock.advance(10_000);
    expect(seen).toEqual([]);
    expect(b.of("session-lost")).toHaveLength(1);
    expect(b.transport.receivers).toHaveLength(2);
    expect(first.disposed).toBe(true);
  });

  test("during its very opening is reported, retried, and runs nothing", async () => {
    const b = bench();
    const seen: unknown[] = [];
    b.transport.onOpen = (receiver) => {
      if (b.transport.receivers.length > 1) return;
      receiver.deliver({ id: "early" });
      receiver.events.lost(lost());
    };
    const starting = b
      .consumer()
      .on(bills, (_body, { id }) => void seen.push(id))
      .start();
    await b.clock.runUntil(() => b.transport.receivers.length === 2, 10_000);
    await starting;
    expect(seen).toEqual([]);
  });
});

describe("lanes taken away from a session", () => {
  test("settle nothing any more and start nothing; others go on", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    const seen: (string | null)[] = [];
    await b
      .consumer({ lanes: 2 })
      .on(bills, async (_body, { id }) => {
        seen.push(id);
        await gate.promise;
      })
      .start();
    b.receiver.deliver({ id: "p0", lane: 0 }, { id: "p1", lane: 1 }, { id: "p0b", lane: 0 }, { id: "p1b", lane: 1 });
    let gone = false;
    void b.receiver.events.revoking(1, [0]).then(() => (gone = true));
    await settle();
    expect(gone).toBe(false); // its handler still runs
    b.receiver.events.revoked(1, [0]);
    gate.resolve();
    await settle();
    expect(gone).toBe(true);
    expect(seen).toEqual(["p0", "p1", "p1b"]);
    expect(b.receiver.settled).toEqual(["ack p1", "ack p1b"]);
  });
});

describe("an ordered key whose delivery is released", () => {
  test("takes what is in hand behind it along, in order; another key is not touched", async () => {
    const b = bench();
    const seen: (string | null)[] = [];
    await b
      .consumer({ onError: () => release({ after: 100 }) })
      .on(orders, (_body, { id }) => {
        seen.push(id);
        if (id === "m1") fail();
      })
      .start();
    b.receiver.deliver(
      { id: "m1", key: "k" },
      { id: "x1", key: "other" },
      { id: "m2", key: "k" },
      { id: "m3", key: "k" },
    );
    await b.clock.advance(100);
    expect(seen).toEqual(["m1", "x1"]);
    expect(b.receiver.settled).toEqual(["ack x1", "release m1", "release m2", "release m3"]);
    expect(b.of("released").map(({ id }) => id)).toEqual(["m1", "m2", "m3"]);
  });

  test("turns back what was on its way when it left, until it has come again", async () => {
    const b = bench();
    const seen: (string | null)[] = [];
    let fails = true;
    await b
      .consumer({ onError: () => release({ after: 1 }) })
      .on(orders, (_body, { id }) => {
        seen.push(id);
        if (fails) fail();
      })
      .start();
    b.receiver.deliver({ id: "m1", key: "k" });
    await b.clock.advance(1);
    fails = false;
    b.receiver.deliver({ id: "m2", key: "k" });
    await settle();
    expect(b.receiver.settled).toEqual(["release m1", "release m2"]);
    b.receiver.deliver({ id: "m1", key: "k", count: 2 });
    b.receiver.deliver({ id: "m3", key: "k" }); // sent before the broker had the release of m2
    await settle();
    b.receiver.deliver({ id: "m2", key: "k", count: 2 }, { id: "m3", key: "k", count: 2 }, { id: "m4", key: "k" });
    expect(seen).toEqual(["m1", "m1", "m2", "m3", "m4"]);
  });

  test("once acked, a second copy of it has no place before the others", async () => {
    const b = bench();
    const seen: (string | null)[] = [];
    let fails = true;
    await b
      .consumer({ onError: () => release({ after: 1 }) })
      .on(orders, (_body, { id }) => {
        seen.push(id);
        if (fails) fail();
      })
      .start();
    b.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" });
    await b.clock.advance(1);
    fails = false;
    b.receiver.deliver({ id: "m1", key: "k", count: 2 });
    b.receiver.deliver({ id: "m1", key: "k" }); // the publisher's resend, behind m2 in the queue
    b.receiver.deliver({ id: "m2", key: "k", count: 2 });
    expect(seen).toEqual(["m1", "m1", "m2"]);
  });

  test("that went to another consumer is not waited for: the first that comes back proves it", async () => {
    const b = bench();
    const seen: (string | null)[] = [];
    let fails = true;
    await b
      .consumer({ onError: () => release({ after: 1 }) })
      .on(orders, (_body, { id }) => {
        seen.push(id);
        if (fails) fail();
      })
      .start();
    b.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" });
    await b.clock.advance(1);
    fails = false;
    b.receiver.deliver({ id: "m2", key: "k", count: 2 }, { id: "m3", key: "k" });
    expect(seen).toEqual(["m1", "m2", "m3"]);
  });

  test("is forgotten after a minute, so that a key whose head went elsewhere goes on", async () => {
    const b = bench();
    const seen: (string | null)[] = [];
    let fails = true;
    await b
      .consumer({ onError: () => release({ after: 1 }) })
      .on(orders, (_body, { id }) => {
        seen.push(id);
        if (fails) fail();
      })
      .start();
    b.receiver.deliver({ id: "m1", key: "k" });
    await b.clock.advance(60_001);
    fails = false;
    b.receiver.deliver({ id: "m9", key: "k" });
    expect(seen).toEqual(["m1", "m9"]);
  });

  test("keys of a topic that is not ordered go on meanwhile", async () => {
    const b = bench();
    await b
      .consumer({ onError: () => release({ after: 100 }) })
      .on(bills, (_body, { id }) => (id === "m1" ? fail() : undefined))
      .start();
    b.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" });
    await b.clock.advance(100);
    expect(b.receiver.settled).toEqual(["release m1", "ack m2"]);
  });
});

describe("what a receiver reports", () => {
  test("unsettled deliveries, gaps and other news are events", async () => {
    const b = bench();
    await b
      .consumer()
      .on(bills, () => {})
      .start();
    const deliveries = b.receiver.deliver({ id: "m1" }, { id: "m2" });
    const { events } = b.receiver;
    events.unsettled(deliveries, new TallyError("session-lost", "ack did not take"));
    events.gap(3, "17", "19");
    events.surfaced("something odd");
    expect(b.of("unsettled")).toMatchObject([{ topic: "bills", group: "billing", deliveries: 2 }]);
    expect(b.of("gap")).toMatchObject([{ topic: "bills", group: "billing", lane: 3, from: "17", to: "19" }]);
    expect(b.of("surfaced")).toMatchObject([{ what: "bills / billing", text: "something odd" }]);
  });
});
