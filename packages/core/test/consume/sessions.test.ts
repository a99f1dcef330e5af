import { describe, expect, test } from "vitest";
import { release, retry } from "../../src/consume/rulings.ts";
import { TallyError } from "../../src/error.ts";
import { topic } from "../../src/topic.ts";
import { bench, settle } from "../support/receiving.ts";

const orders = topic<{ id: string | null }>("orders", { key: () => "", ordered: true, groups: ["audit"] });
const bills = topic<{ id: string | null }>("bills");
const lost = (): TallyError => new TallyError("session-lost", "cut", { retryable: true });
const fail = (): never => {
  throw new Error("declined");
};

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
