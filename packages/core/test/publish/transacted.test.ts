// One thing: publish(…, { tx }) from the handler to the broker; the rig of a transaction and its words are shared by all.
import {
  type MemoryInbox,
  memoryInbox,
  memoryOutbox,
  type MemoryOutbox,
  seededRandom,
  virtualClock,
} from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import type { Attempt, Job } from "../../src/consume/attempt.ts";
import { type Failed, handleInTransaction } from "../../src/consume/in-transaction.ts";
import { TallyError } from "../../src/error.ts";
import { Hold } from "../../src/inbox/claims.ts";
import type { StandardSchema } from "../../src/schema.ts";
import type { FreshClaim, InboxTransactions, StoreHost } from "../../src/stores.ts";
import { topic } from "../../src/topic.ts";
import { accepted, away, no, type Rig, rig, type RigOptions, watch } from "../support/scripted-transport.ts";

interface Order {
  readonly key: string;
  readonly n: number;
}
const plain = topic<Order>("plain");
const ordered = topic<Order>("ordered", { key: (o) => o.key, ordered: true });

interface Bench {
  readonly r: Rig;
  readonly inbox: MemoryInbox;
  /** The other outbox, where messages spill. */
  readonly fallback: MemoryOutbox;
  readonly transactions: InboxTransactions<unknown>;
  settle(): Promise<void>;
  accept(): Promise<void>;
  /** Runs a handler for a delivery of its own; what it failed with, or null. */
  handle(handler: (tx: unknown) => unknown): Promise<Failed | null>;
}

interface BenchOptions extends RigOptions {
  readonly inbox?: MemoryInbox;
  readonly fallback?: MemoryOutbox | null;
  /** False: nothing has been read of the stores yet. */
  readonly settled?: boolean;
}

let deliveries = 0;

async function bench({
  inbox = memoryInbox(),
  fallback = memoryOutbox(),
  settled = true,
  ...options
}: BenchOptions = {}): Promise<Bench> {
  const host: StoreHost = { clock: virtualClock(), random: seededRandom(1), surfaced: () => {} };
  const store = await inbox.openInbox(host);
  const transactions = store.transactions as InboxTransactions<unknown>;
  const policy = { after: 1_000, relayWindow: 100 };
  const spill = { store: (await fallback?.openOutbox(host)) ?? null, transactions: transactions.outbox, policy };
  const r = rig({ ...options, spill, transactions });
  const settle = async (): Promise<void> => {
    for (let i = 0; i < 12; i++) await r.clock.advance(0);
  };
  if (settled) await settle();
  return {
    r,
    inbox,
    fallback: fallback ?? memoryOutbox(),
    transactions,
    settle,
    async accept() {
      for (let i = 0; i < 20; i++) {
        for (const copy of r.sessions.flatMap((s) => s.open)) copy.verdict(accepted);
        await settle();
      }
    },
    async handle(handler) {
      const key = { group: "g", topic: "t", producer: "p", id: `${++deliveries}`, bodyHash: 1n, behind: null };
      const [claim] = await store.claim([key], 60_000);
      const attempt = { tx: undefined, ran: false } as unknown as Attempt;
      const job = {
        running: attempt,
        subscription: { handler: (_body: unknown, { tx }: { tx: unknown }) => handler(tx) },
      } as unknown as Job;
      return handleInTransaction(
        transactions,
        r.publisher.transacted,
        new Hold(claim as FreshClaim, 0),
        job,
        attempt,
        {},
        { enter() {}, leave() {} },
      );
    },
  };
}

const ids = (r: Rig): string[] => r.copies.map((c) => c.message.id);
const order = (n: number, key = "a"): Order => ({ key, n });

describe("sent if, and only if, the transaction commits", () => {
  it("nothing leaves before the commit; after it the row is sent, and is gone once the broker has it", async () => {
    const b = await bench();
    const gate = Promise.withResolvers<void>();
    let receipt: unknown;
    const run = watch(
      b.handle(async (tx) => {
        receipt = await b.r.publisher.publish(plain, order(1), { id: "m1", tx });
        await gate.promise;
      }),
    );
    await b.settle();
    await b.r.clock.advance(5_000);
    expect(receipt).toMatchObject({ id: "m1", state: "stored", proof: { persisted: "yes" } });
    expect([ids(b.r), b.inbox.outbox.rows.length]).toEqual([[], 0]);
    gate.resolve();
    await b.settle();
    expect(run.value).toBe(null);
    expect(ids(b.r)).toEqual(["m1"]);
    expect(b.inbox.outbox.rows).toHaveLength(1);
    await b.accept();
    expect(b.inbox.outbox.rows).toHaveLength(0);
    expect([b.r.count("tx-published"), b.r.count("tx-undone"), b.r.publisher.live]).toEqual([1, 0, 0]);
  });

  it("its row says for how long its topic's ids are deduplicated, whoever relays it", async () => {
    const b = await bench();
    const brief = topic<Order>("brief", { dedupeFor: "1h" });
    b.r.away = away;
    await b.handle((tx) => b.r.publisher.publish(brief, order(1), { id: "m1", tx }));
    expect(b.inbox.outbox.rows.map((row) => [row.message.id, row.dedupeForMs])).toEqual([["m1", 3_600_000]]);
  });

  it("rule 20: with { tx } a handler that throws takes its messages back, and its key is free at once", async () => {
    const b = await bench();
    const failed = await b.handle(async (tx) => {
      await b.r.publisher.publish(ordered, order(1), { id: "a1", tx });
      throw new Error("declined");
    });
    expect(failed).toMatchObject({ by: "handler", thrown: { message: "declined" } });
    const direct = watch(b.r.publisher.publish(ordered, order(2), { id: "a2" }));
    await b.settle();
    expect(ids(b.r)).toEqual(["a2"]);
    await b.accept();
    expect(direct.value).toMatchObject({ state: "confirmed" });
    expect(b.inbox.outbox.rows).toHaveLength(0);
    expect([b.r.count("tx-published"), b.r.count("tx-undone")]).toEqual([0, 1]);
  });

  it("a transaction that is fenced takes its messages back", async () => {
    const b = await bench();
    const failed = await b.handle(async (tx) => {
      await b.r.publisher.publish(ordered, order(1), { id: "a1", tx });
      b.inbox.expireLeases();
      (b.inbox.marks.at(-1) as { fence: number }).fence = -1; // another consumer has claimed it
    });
    expect(failed).toMatchObject({ by: "store", error: { code: "fenced" } });
    await b.r.clock.advance(2_000);
    await b.accept();
    expect([ids(b.r), b.r.count("tx-undone")]).toEqual([[], 1]);
  });

  it("where nobody can tell whether it committed, its key stays fenced until the store has been read", async () => {
    const b = await bench();
    const run = b.transactions.run;
    b.transactions.run = async (claim, effect) => {
      await run.call(b.transactions, claim, effect);
      throw new TallyError("store", "the connection was lost at the commit", { retryable: true });
    };
    const failed = await b.handle((tx) => b.r.publisher.publish(ordered, order(1), { id: "a1", tx }));
    expect(failed).toMatchObject({ by: "store", error: { code: "store" } });
    const behind = watch(b.r.publisher.publish(ordered, order(2), { id: "a2" }));
    await b.settle();
    expect(ids(b.r)).toEqual(["a1"]);
    await b.r.clock.advance(3_000);
    await b.accept();
    expect(behind.state).toBe("resolved");
    expect(ids(b.r)).toEqual(["a1", "a2"]);
    await b.r.clock.advance(2_000);
    const direct = watch(b.r.publisher.publish(ordered, order(3), { id: "a3" }));
    await b.accept();
    expect(direct.value).toMatchObject({ state: "confirmed" });
  });

  it("what the broker refuses for good is parked in the inbox's outbox", async () => {
    const b = await bench();
    await b.handle((tx) => b.r.publisher.publish(plain, order(1), { id: "m1", tx }));
    await b.settle();
    b.r.copies[0]?.verdict(no("unroutable"));
    await b.accept();
    expect(b.inbox.outbox.parked.map((p) => [p.row.message.id, p.code])).toEqual([["m1", "unroutable"]]);
  });

  it("without `outbox:` a message that is published directly is stored nowhere while the broker is away", async () => {
    const b = await bench({ fallback: null, deadline: "10s" });
    b.r.away = away;
    b.r.sessions[0]?.lose();
    const direct = watch(b.r.publisher.publish(ordered, order(1), { id: "a1" }));
    await b.r.clock.advance(10_020);
    await b.settle();
    expect(direct).toMatchObject({ state: "rejected", error: { code: "deadline" } });
    expect(b.inbox.outbox.rows).toHaveLength(0);
  });
});

describe("the order of a key", () => {
  it("is that of the commits, and direct publishes go behind the rows until these have gone", async () => {
    const b = await bench();
    for (const n of [1, 2]) await b.handle((tx) => b.r.publisher.publish(ordered, order(n), { id: `a${n}`, tx }));
    const direct = watch(b.r.publisher.publish(ordered, order(3), { id: "a3" }));
    const other = watch(b.r.publisher.publish(ordered, order(1, "b"), { id: "b1" }));
    await b.settle();
    expect(ids(b.r)).toEqual(["a1", "b1"]);
    await b.accept();
    expect(ids(b.r)).toEqual(["a1", "b1", "a2", "a3"]);
    expect([direct.value, other.value]).toMatchObject([{ id: "a3" }, { state: "confirmed" }]);
    const after = watch(b.r.publisher.publish(ordered, order(4), { id: "a4" }));
    await b.accept();
    expect(after.value).toMatchObject({ state: "confirmed" });
  });

  it("while a transaction is open, what is published directly does not pass it", async () => {
    const b = await bench();
    const gate = Promise.withResolvers<void>();
    const run = watch(
      b.handle(async (tx) => {
        await b.r.publisher.publish(ordered, order(1), { id: "a1", tx });
        await gate.promise;
      }),
    );
    await b.settle();
    const direct = watch(b.r.publisher.publish(ordered, order(2), { id: "a2" }));
    await b.settle();
    // Its commit came first; what matters is that it is not on the wire beside a row of its key.
    expect(direct.value).toMatchObject({ state: "stored" });
    gate.resolve();
    await b.accept();
    expect(run.value).toBe(null);
    expect(ids(b.r)).toEqual(["a2", "a1"]);
  });

  it("rule 20: with { tx } a publish does not overtake one that is under way: `later`, and the next try goes through", async () => {
    const b = await bench();
    const direct = watch(b.r.publisher.publish(ordered, order(1), { id: "a1" }));
    await b.settle();
    const [failed, other, unordered] = [
      await b.handle((tx) => b.r.publisher.publish(ordered, order(2), { id: "a2", tx })),
      await b.handle((tx) => b.r.publisher.publish(ordered, order(1, "b"), { id: "b1", tx })),
      await b.handle((tx) => b.r.publisher.publish(plain, order(1), { id: "m1", tx })),
    ];
    expect(failed).toMatchObject({
      by: "handler",
      thrown: { code: "later", retryable: true, mayArrive: false, id: "a2" },
    });
    expect([other, unordered]).toEqual([null, null]);
    await b.accept();
    expect(direct.value).toMatchObject({ state: "confirmed" });
    expect(await b.handle((tx) => b.r.publisher.publish(ordered, order(2), { id: "a2", tx }))).toBe(null);
    await b.accept();
    expect(ids(b.r)).toEqual(["a1", "b1", "m1", "a2"]);
  });

  it("nor one that lies in the other outbox", async () => {
    const b = await bench();
    b.r.away = away;
    b.r.sessions[0]?.lose();
    await b.r.clock.advance(1_010);
    const spilled = watch(b.r.publisher.publish(ordered, order(1), { id: "a1" }));
    await b.settle();
    expect(spilled.value).toMatchObject({ state: "stored" });
    expect(b.fallback.rows).toHaveLength(1);
    const failed = await b.handle((tx) => b.r.publisher.publish(ordered, order(2), { id: "a2", tx }));
    expect(failed).toMatchObject({ by: "handler", thrown: { code: "later", retryable: true } });
    b.r.away = null;
    await b.r.clock.advance(3_000);
    await b.accept();
    expect(await b.handle((tx) => b.r.publisher.publish(ordered, order(2), { id: "a2", tx }))).toBe(null);
    await b.accept();
    expect(ids(b.r)).toEqual(["a1", "a2"]);
  });

  it("while the broker is away, a key with rows of transactions goes on behind them, not in the other outbox", async () => {
    const b = await bench();
    b.r.away = away;
    b.r.sessions[0]?.lose();
    await b.handle((tx) => b.r.publisher.publish(ordered, order(1), { id: "a1", tx }));
    await b.r.clock.advance(1_010);
    const [a2, b1] = [order(2), order(1, "b")].map((o) =>
      watch(b.r.publisher.publish(ordered, o, { id: `${o.key}${o.n}` })),
    );
    await b.settle();
    expect([a2?.value, b1?.value]).toMatchObject([{ state: "stored" }, { state: "stored" }]);
    expect(b.inbox.outbox.rows.map((row) => row.message.id)).toEqual(["a1", "a2"]);
    expect(b.fallback.rows.map((row) => row.message.id)).toEqual(["b1"]);
    b.r.away = null;
    await b.r.clock.advance(3_000);
    await b.accept();
    expect(ids(b.r).filter((id) => id.startsWith("a"))).toEqual(["a1", "a2"]);
  });

  it("stays in one store, whatever others commit under the same key meanwhile", async () => {
    const inbox = memoryInbox();
    const [one, two] = [await bench({ inbox }), await bench({ inbox })];
    for (const { r } of [one, two]) {
      r.away = away;
      r.sessions[0]?.lose();
      await r.clock.advance(6_010);
    }
    await one.handle((tx) => one.r.publisher.publish(ordered, order(1, "x"), { id: "x1", tx }));
    void one.r.publisher.publish(ordered, order(1), { id: "a1" });
    await one.settle();
    await two.handle((tx) => two.r.publisher.publish(ordered, order(9), { id: "a9", tx }));
    await one.r.clock.advance(2_000); // and reads what is in the inbox's file
    await one.settle();
    void one.r.publisher.publish(ordered, order(2), { id: "a2" });
    await one.settle();
    expect(one.fallback.rows.map((row) => row.message.id)).toEqual(["a1", "a2"]);
  });

  it("is fenced from the start by what an earlier process committed", async () => {
    const inbox = memoryInbox();
    const first = await bench({ inbox });
    first.r.away = away;
    first.r.sessions[0]?.lose();
    await first.handle((tx) => first.r.publisher.publish(ordered, order(1), { id: "a1", tx }));
    await first.r.clock.advance(6_000); // and gives up the lease
    await first.settle();
    const second = await bench({ inbox, fallback: null, settled: false });
    const b1 = watch(second.r.publisher.publish(ordered, order(1, "b"), { id: "b1" }));
    const a2 = watch(second.r.publisher.publish(ordered, order(2), { id: "a2" }));
    await second.accept();
    expect(ids(second.r).filter((id) => id !== "b1")).toEqual(["a1", "a2"]);
    // Nobody gave it an outbox: what need not go into a store does not, however early it comes.
    expect([a2.state, b1.value]).toMatchObject(["resolved", { state: "confirmed" }]);
  });

  it("of one transaction is that of its calls, also when one is validated asynchronously", async () => {
    const gate = Promise.withResolvers<void>();
    const schema: StandardSchema<Order, Order> = {
      "~standard": {
        version: 1,
        vendor: "test",
        validate: async (value) => {
          if ((value as Order).n === 1) await gate.promise;
          return { value: value as Order };
        },
      },
    };
    const slow = topic("slow", { schema, key: (o: Order) => o.key, ordered: true });
    const b = await bench();
    const run = watch(
      b.handle((tx) => Promise.all([1, 2].map((n) => b.r.publisher.publish(slow, order(n), { id: `a${n}`, tx })))),
    );
    await b.settle();
    gate.resolve();
    await b.accept();
    expect(run.value).toBe(null);
    expect(ids(b.r)).toEqual(["a1", "a2"]);
  });
});

describe("what cannot be published fails the transaction, with nothing stored or sent", () => {
  const refused: [string, (b: Bench, tx: unknown) => Promise<unknown>, string][] = [
    ["too large", (b, tx) => b.r.publisher.publish(plain, { key: "x".repeat(2_000_000), n: 1 }, { tx }), "too-large"],
    [
      "an invalid header",
      (b, tx) => b.r.publisher.publish(plain, order(1), { headers: { "tally-x": "1" }, tx }),
      "bad-message",
    ],
    [
      "an aborted signal",
      (b, tx) => b.r.publisher.publish(plain, order(1), { signal: AbortSignal.abort(), tx }),
      "aborted",
    ],
    [
      "a topic that stores nothing",
      (b, tx) => b.r.publisher.publish(topic<Order>("off", { outbox: "off" }), order(1), { tx }),
      "bad-config",
    ],
    [
      "another body under the same id",
      async (b, tx) => {
        await b.r.publisher.publish(plain, order(1), { id: "m1", tx });
        await b.r.publisher.publish(plain, order(2), { id: "m1", tx });
      },
      "conflict",
    ],
  ];
  it.each(refused)("%s", async (_name, publish, code) => {
    const b = await bench();
    const failed = await b.handle((tx) => publish(b, tx));
    expect(failed).toMatchObject({ by: "handler", thrown: { code } });
    // A handler that looks away does not get its effect without its message.
    const looksAway = await b.handle((tx) => publish(b, tx).catch(() => {}));
    expect(looksAway).toMatchObject({ by: "handler", thrown: { code } });
    await b.r.clock.advance(2_000);
    await b.accept();
    expect([ids(b.r), b.inbox.outbox.rows.length]).toEqual([[], 0]);
  });

  it("a schema that says no, and says so late", async () => {
    const schema: StandardSchema<Order, Order> = {
      "~standard": { version: 1, vendor: "test", validate: async () => ({ issues: [{ message: "n is negative" }] }) },
    };
    const b = await bench();
    const failed = await b.handle((tx) => b.r.publisher.publish(topic("checked", { schema }), order(1), { tx }));
    expect(failed).toMatchObject({ by: "handler", thrown: { code: "schema" } });
    expect(b.inbox.outbox.rows).toHaveLength(0);
  });

  it("a store at its bound: store-full, and the key is free", async () => {
    const b = await bench({ inbox: memoryInbox({ maxRows: 1 }) });
    const failed = await b.handle(async (tx) => {
      await b.r.publisher.publish(plain, order(1), { id: "m1", tx });
      await b.r.publisher.publish(ordered, order(1), { id: "a1", tx });
    });
    expect(failed).toMatchObject({ by: "handler", thrown: { code: "store-full", retryable: true } });
    expect(b.inbox.outbox.rows).toHaveLength(0);
    const direct = watch(b.r.publisher.publish(ordered, order(1), { id: "a1" }));
    await b.accept();
    expect(direct.value).toMatchObject({ state: "confirmed" });
  });

  it("the same message twice is one", async () => {
    const b = await bench();
    const failed = await b.handle((tx) =>
      Promise.all([1, 2].map(() => b.r.publisher.publish(ordered, order(1), { id: "a1", tx }))),
    );
    expect(failed).toBe(null);
    await b.accept();
    expect(ids(b.r)).toEqual(["a1"]);
    const direct = watch(b.r.publisher.publish(ordered, order(2), { id: "a2" }));
    await b.accept();
    expect(direct.value).toMatchObject({ state: "confirmed" });
  });

  it("a publish that the handler did not wait for fails its transaction", async () => {
    const b = await bench();
    let publish: ReturnType<typeof watch> | null = null;
    const failed = await b.handle((tx) => {
      publish = watch(b.r.publisher.publish(plain, order(1), { id: "m1", tx }));
    });
    expect(failed).toMatchObject({ by: "handler", thrown: { code: "handler", message: /await/ } });
    await b.accept();
    expect(publish).toMatchObject({ state: "rejected", error: { code: "store", id: "m1", mayArrive: false } });
    expect([ids(b.r), b.inbox.outbox.rows.length]).toEqual([[], 0]);
  });

  it("one whose row the store has put when the handler is gone is none, and its key is free", async () => {
    const b = await bench();
    const put = b.transactions.put.bind(b.transactions);
    const gate = Promise.withResolvers<void>();
    b.transactions.put = async (tx, rows) => {
      const results = await put(tx, rows);
      await gate.promise;
      return results;
    };
    let publish: ReturnType<typeof watch> | null = null;
    const running = watch(
      b.handle(async (tx) => {
        publish = watch(b.r.publisher.publish(ordered, order(1), { id: "a1", tx }));
        // The row is in the transaction by then, and nobody has been told.
        for (let n = 0; n < 3; n++) await new Promise((resolve) => setImmediate(resolve));
      }),
    );
    await b.settle();
    expect(running.value).toMatchObject({ by: "handler", thrown: { message: /await/ } });
    gate.resolve();
    await b.settle();
    expect(publish).toMatchObject({ state: "rejected", error: { code: "store", id: "a1" } });
    const direct = watch(b.r.publisher.publish(ordered, order(2), { id: "a2" }));
    await b.accept();
    expect([direct.value?.state, ids(b.r)]).toEqual(["confirmed", ["a2"]]);
  });

  it("of a handler that the store begins anew only what it publishes then is there, and its key is free after that", async () => {
    const b = await bench();
    const run = b.transactions.run.bind(b.transactions);
    b.transactions.run = async (claim, effect) => {
      const undone = new Error("undone");
      await run(claim, async (tx) => {
        await effect(tx);
        throw undone;
      }).catch((error: unknown) => expect(error).toBe(undone));
      return await run(claim, effect);
    };
    let times = 0;
    const failed = await b.handle((tx) => b.r.publisher.publish(ordered, order(++times), { id: `a${times}`, tx }));
    await b.accept();
    expect([failed, times, ids(b.r)]).toEqual([null, 2, ["a2"]]);
    expect([b.r.count("tx-undone"), b.r.count("tx-published")]).toEqual([1, 1]);
    const direct = watch(b.r.publisher.publish(ordered, order(3), { id: "a3" }));
    await b.accept();
    expect(direct.value).toMatchObject({ state: "confirmed" });
  });

  it("its number is that of the call among all of its topic", async () => {
    const b = await bench();
    void b.r.publisher.publish(plain, order(1), { id: "m1" });
    await b.accept();
    await b.handle(async (tx) => {
      for (const n of [2, 3]) await b.r.publisher.publish(plain, order(n), { id: `m${n}`, tx });
    });
    void b.r.publisher.publish(plain, order(4), { id: "m4" });
    await b.accept();
    const seqs = new Map(b.r.copies.map(({ message: { id, seq } }) => [id, seq]));
    expect(["m1", "m2", "m3", "m4"].map((id) => seqs.get(id))).toEqual([1, 2, 3, 4]);
  });

  it("a tx that is over, one of somebody else, and none at all are told apart", async () => {
    const b = await bench();
    let kept: unknown;
    await b.handle((tx) => void (kept = tx));
    for (const [tx, code] of [
      [kept, "store"],
      [{}, "bad-config"],
      [undefined, "bad-config"],
    ] as const) {
      await expect(b.r.publisher.publish(plain, order(1), { id: "m1", tx })).rejects.toMatchObject({ code, id: "m1" });
    }
    const without = rig();
    await expect(without.publisher.publish(plain, order(1), { id: "m1", tx: {} })).rejects.toMatchObject({
      code: "bad-config",
    });
    await b.accept();
    expect([ids(b.r), b.inbox.outbox.rows.length]).toEqual([[], 0]);
  });
});

describe("two processes on the inbox's store", () => {
  it("one relays what both commit; the other takes over when its session is unusable", async () => {
    const inbox = memoryInbox();
    const [one, two] = [await bench({ inbox }), await bench({ inbox })];
    await two.handle((tx) => two.r.publisher.publish(plain, order(1), { id: "m1", tx }));
    await one.r.clock.advance(1_010); // nobody tells it of another's rows
    await one.accept();
    expect([ids(one.r), ids(two.r)]).toEqual([["m1"], []]);
    one.r.away = away;
    one.r.sessions[0]?.lose();
    await one.r.clock.advance(5_010);
    await one.settle();
    await two.settle();
    await one.handle((tx) => one.r.publisher.publish(plain, order(2), { id: "m2", tx }));
    await two.r.clock.advance(1_010);
    await two.accept();
    expect(ids(two.r)).toEqual(["m2"]);
    expect(inbox.outbox.rows).toHaveLength(0);
  });

  it("a close leaves what is committed in the store, and no timer", async () => {
    const b = await bench();
    b.r.away = away;
    b.r.sessions[0]?.lose();
    await b.handle((tx) => b.r.publisher.publish(plain, order(1), { id: "m1", tx }));
    const closed = watch(b.r.publisher.close(2_000));
    await b.r.clock.advance(2_010);
    await b.settle();
    await b.r.clock.advance(2_000);
    await b.settle();
    expect(closed).toMatchObject({ state: "resolved" });
    expect(b.inbox.outbox.rows).toHaveLength(1);
    expect(b.r.clock.pending()).toBe(0);
  });
});
