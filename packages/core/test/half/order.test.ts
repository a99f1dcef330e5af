import { memoryInbox, memoryOutbox, type MemoryOutbox, seededRandom } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { Halves } from "../../src/half/halves.ts";
import type { Half } from "../../src/half/options.ts";
import type { InboxTransactions, StoreHost } from "../../src/stores.ts";
import { topic } from "../../src/topic.ts";
import { accepted, away, type Rig, rig, watch } from "../support/scripted-transport.ts";

interface Order {
  readonly key: string;
  readonly n: number;
}
const orders = topic<Order>("orders", { key: (o) => o.key, ordered: true });

interface Bench {
  readonly r: Rig;
  readonly half: Half<Order>;
  readonly halves: Halves;
  readonly outbox: MemoryOutbox;
  readonly transactions: InboxTransactions<unknown>;
  settle(): Promise<void>;
  accept(): Promise<void>;
  publish(n: number): ReturnType<typeof watch>;
  run(n: number): ReturnType<typeof watch>;
}

async function bench(): Promise<Bench> {
  const [outbox, inbox] = [memoryOutbox(), memoryInbox()];
  const host: StoreHost = {
    clock: { now: () => 0, wall: () => 0, after: () => ({ cancel: () => {} }) },
    random: seededRandom(1),
    surfaced: () => {},
  };
  const store = await outbox.openOutbox(host);
  const transactions = (await inbox.openInbox(host)).transactions as InboxTransactions<unknown>;
  const policy = { after: 1_000, relayWindow: 100 };
  const r = rig({ spill: { store, transactions: transactions.outbox, policy }, transactions });
  const halves = new Halves({
    runtime: r.runtime,
    store: store.halves,
    broker: null,
    publisher: r.publisher,
    deadlineMs: 120_000,
  });
  const half = halves.declare<Order, Order>("payment", { topic: orders, check: () => "unknown" });
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 12; i++) await r.clock.advance(0);
  };
  await settle();
  return {
    r,
    half,
    halves,
    outbox,
    transactions,
    settle,
    async accept() {
      for (let i = 0; i < 20; i++) {
        for (const copy of r.sessions.flatMap((s) => s.open)) copy.verdict(accepted);
        await settle();
      }
    },
    publish: (n) => watch(r.publisher.publish(orders, { key: "a", n }, { id: `m${n}` })),
    run: (n) => watch(half.run({ key: "a", n }, () => "commit", { id: `m${n}` })),
  };
}

const ids = (r: Rig): string[] => r.copies.map((c) => c.message.id);

describe("the place of a half message among those of its key is that of its commit", () => {
  it("behind those that are under way, before those that are published after it", async () => {
    const b = await bench();
    b.publish(1);
    await b.settle();
    const half = b.run(2);
    await b.settle();
    // Its caller does not wait for the others: the decision is durable.
    expect(half.value).toMatchObject({ decision: "commit" });
    b.publish(3);
    await b.settle();
    expect([ids(b.r), b.outbox.rows.length]).toEqual([["m1"], 0]);
    await b.accept();
    await b.r.clock.advance(1_000);
    await b.accept();
    expect(ids(b.r)).toEqual(["m1", "m2", "m3"]);
    expect([b.r.publisher.live, b.outbox.rows.length]).toEqual([0, 0]);
  });

  it("behind those that lie in the outbox", async () => {
    const b = await bench();
    b.r.away = away;
    b.r.sessions[0]?.lose();
    await b.r.clock.advance(1_010);
    for (const n of [1, 3]) b.publish(n);
    await b.settle();
    b.run(4);
    await b.settle();
    b.publish(5);
    await b.settle();
    expect(b.outbox.rows.map((row) => row.message.id)).toEqual(["m1", "m3", "m4", "m5"]);
  });

  it("behind those that a transaction has committed in the other store", async () => {
    const b = await bench();
    const tx = {};
    const publishes = b.r.publisher.transacted?.begin(tx);
    const { put } = b.transactions;
    b.transactions.put = (_tx, rows) => b.transactions.outbox.put(rows);
    await b.r.publisher.publish(orders, { key: "a", n: 1 }, { id: "m1", tx });
    b.transactions.put = put;
    publishes?.ended("committed");
    const half = b.run(2);
    await b.settle();
    expect([half.value, b.outbox.rows.length]).toMatchObject([{ decision: "commit" }, 0]);
    await b.r.clock.advance(1_000);
    await b.accept();
    await b.r.clock.advance(1_000);
    await b.accept();
    expect(ids(b.r)).toEqual(["m1", "m2"]);
  });

  it("a close leaves a committed one that has no row yet in the store, for who opens it next", async () => {
    const b = await bench();
    b.publish(1);
    await b.settle();
    b.run(2);
    await b.settle();
    await b.halves.close(100);
    const closed = watch(b.r.publisher.close(500));
    await b.r.clock.advance(510);
    await b.settle();
    await b.r.clock.advance(2_000);
    await b.settle();
    // The first is stored in doubt, and the half message behind it.
    expect(closed.state).toBe("resolved");
    expect(b.outbox.rows.map((row) => row.message.id)).toEqual(["m1", "m2"]);
    expect(b.r.clock.pending()).toBe(0);
  });
});
