// One consumer, one inbox: what each answer to a claim leads to, run by run.
import { type MemoryInbox, memoryInbox, type MemoryTx } from "@tallymq/testkit";
import { describe, expect, test } from "vitest";
import type { Context } from "../../src/consume/options.ts";
import { release, retry } from "../../src/consume/rulings.ts";
import { TallyError } from "../../src/error.ts";
import type { FreshClaim, StoreHost } from "../../src/stores.ts";
import { topic } from "../../src/topic.ts";
import { turns, world } from "../support/guarded.ts";
import { asJson } from "../support/receiving.ts";

const orders = topic<{ id: string | null }>("orders");
const ordered = topic<{ id: string | null }>("orders", { key: () => "", ordered: true });
const disk = new TallyError("store", "the disk is gone", { retryable: true });

describe("a claim is fresh, busy, done, dead or conflict; only done and dead are acked without running", () => {
  test("rule 13: killed in its handler: the redelivery meets the unexpired claim, is not acked, and runs when the lease is over", async () => {
    const w = world();
    const a = await w.process();
    await a
      .consumer()
      .on(orders, () => new Promise<void>(() => {}))
      .start();
    a.receiver.deliver({ id: "m1" });
    await turns();
    a.kill();

    const b = await w.process();
    const ran: number[] = [];
    await b
      .consumer({ lease: "15s" })
      .on(orders, () => void ran.push(w.clock.now()))
      .start();
    b.receiver.deliver({ id: "m1", count: 2 });
    await w.pass(14_000);
    expect(b.receiver.settled).toEqual([]);
    expect(ran).toEqual([]);
    expect(b.of("busy")).toHaveLength(1);
    await w.until(() => b.receiver.settled.length > 0, 60_000);
    expect(ran).toHaveLength(1);
    expect(ran[0]).toBeGreaterThanOrEqual(15_000);
    expect(b.receiver.settled).toEqual(["ack m1"]);
  });

  test("a long handler keeps its claim beyond the lease: another consumer's copy does not run beside it", async () => {
    const w = world();
    const [a, b] = [await w.process(), await w.process()];
    const gate = Promise.withResolvers<void>();
    await a
      .consumer({ processingDeadline: "10m" })
      .on(orders, () => gate.promise)
      .start();
    let ran = 0;
    await b
      .consumer()
      .on(orders, () => void ran++)
      .start();
    a.receiver.deliver({ id: "m1" });
    await turns();
    b.receiver.deliver({ id: "m1" });
    await w.pass(120_000);
    expect(ran).toBe(0);
    expect(b.receiver.settled).toEqual([]);
    gate.resolve();
    await w.pass(60_000);
    expect(a.receiver.settled).toEqual(["ack m1"]);
    expect(b.receiver.settled).toEqual(["ack m1"]);
    expect(ran).toBe(0);
    expect(b.of("duplicate")).toHaveLength(1);
  });

  test("rule 13: done: acked without running, counted", async () => {
    const w = world();
    const a = await w.process();
    let ran = 0;
    await a
      .consumer()
      .on(orders, () => void ran++)
      .start();
    a.receiver.deliver({ id: "m1" });
    await turns();
    a.receiver.deliver({ id: "m1", count: 2 });
    await turns();
    expect(ran).toBe(1);
    expect(a.receiver.settled).toEqual(["ack m1", "ack m1"]);
    expect(a.of("duplicate")).toMatchObject([{ topic: "orders", group: "billing", id: "m1" }]);
  });

  test("the same process, session cut in the handler: the redelivery is settled as soon as the handler is done", async () => {
    const w = world();
    const a = await w.process();
    const gate = Promise.withResolvers<void>();
    let ran = 0;
    await a
      .consumer()
      .on(orders, () => (ran++, gate.promise))
      .start();
    a.receiver.deliver({ id: "m1" });
    await turns();
    a.receiver.events.lost(new TallyError("session-lost", "cut", { retryable: true }));
    await w.until(() => a.transport.receivers.length === 2, 5_000);
    a.receiver.deliver({ id: "m1", count: 2 });
    await turns();
    const before = w.clock.now();
    gate.resolve();
    await turns();
    expect(a.receiver.settled).toEqual(["ack m1"]);
    expect(w.clock.now()).toBe(before);
    expect(ran).toBe(1);
  });

  test("a busy head of an ordered key holds up its key, and no other", async () => {
    const w = world();
    const a = await w.process();
    await a
      .consumer()
      .on(ordered, () => new Promise<void>(() => {}))
      .start();
    a.receiver.deliver({ id: "m1", key: "k" });
    await turns();
    a.kill();
    const b = await w.process();
    const ran: (string | null)[] = [];
    await b
      .consumer({ lanes: 1 })
      .on(ordered, (_body, { id }) => void ran.push(id))
      .start();
    b.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" }, { id: "n1", key: "n" });
    await turns();
    expect(ran).toEqual(["n1"]);
    await w.pass(20_000);
    expect(ran).toEqual(["n1", "m1", "m2"]);
  });
});

describe("claims", () => {
  test("of one tick are one call, and are asked for when the turn comes, not on arrival", async () => {
    const w = world();
    const a = await w.process();
    const gate = Promise.withResolvers<void>();
    await a
      .consumer({ lanes: 8, credit: 500 })
      .on(orders, () => gate.promise)
      .start();
    a.receiver.deliver(...Array.from({ length: 500 }, (_, i) => ({ id: `m${i}` })));
    await turns();
    expect(w.inbox.claims).toEqual([8]);
    gate.resolve();
    await turns(2_000);
    expect(a.receiver.settled).toHaveLength(500);
    expect(w.inbox.claims.length).toBeLessThan(500);
  });

  test("`marked`: the mark is durable before the ack, and the handler ran before the mark", async () => {
    const w = world();
    const a = await w.process();
    const seen: string[] = [];
    await a
      .consumer()
      .on(orders, () => void seen.push(w.inbox.marks[0]!.state))
      .start();
    a.receiver.deliver({ id: "m1" });
    let acked = false;
    for (let i = 0; i < 50 && !acked; i++) {
      await turns(1);
      acked = a.receiver.settled.length > 0;
      if (acked) seen.push(w.inbox.marks[0]!.state);
    }
    expect(seen).toEqual(["open", "done"]);
  });

  test("a failed sequence of attempts gives the claim back before the release: the redelivery runs at once", async () => {
    const w = world();
    const a = await w.process();
    let fails = true;
    await a
      .consumer({ onError: (_error, { attempt }) => (attempt < 2 ? retry() : release({ after: "1s" })) })
      .on(orders, () => {
        if (fails) throw new Error("declined");
      })
      .start();
    const { receiver } = a;
    const settle = receiver.settle.bind(receiver);
    const leases: number[] = [];
    receiver.settle = (batch) => {
      leases.push(w.inbox.marks[0]!.until);
      settle(batch);
    };
    receiver.deliver({ id: "m1" });
    await w.until(() => receiver.settled.length > 0, 10_000);
    expect(receiver.settled).toEqual(["release m1"]);
    expect(leases).toEqual([Number.NEGATIVE_INFINITY]);
    expect(w.inbox.marks).toMatchObject([{ state: "open", attempts: 1, until: Number.NEGATIVE_INFINITY }]);
    fails = false;
    a.receiver.deliver({ id: "m1", count: 2 });
    await turns();
    expect(a.receiver.settled).toEqual(["release m1", "ack m1"]);
    expect(a.of("busy")).toEqual([]);
  });

  test("fenced: a process that stood still does not ack what another one has", async () => {
    const w = world();
    const [a, b] = [await w.process(), await w.process()];
    const gate = Promise.withResolvers<void>();
    await a
      .consumer()
      .on(orders, () => gate.promise)
      .start();
    await b
      .consumer()
      .on(orders, () => new Promise<void>(() => {}))
      .start();
    a.receiver.deliver({ id: "m1" });
    await turns();
    w.inbox.expireLeases();
    b.receiver.deliver({ id: "m1" });
    await turns();
    gate.resolve();
    await turns();
    expect(a.receiver.settled).toEqual([]);
    expect(a.of("fenced")).toHaveLength(1);
    await w.pass(12_000);
    expect(a.receiver.settled).toEqual(["release m1"]);
    expect(w.inbox.marks[0]).toMatchObject({ state: "open", attempts: 2 });
  });

  test("a handler is told by its signal that its claim is another one's", async () => {
    const w = world();
    const [a, b] = [await w.process(), await w.process()];
    const signals: AbortSignal[] = [];
    await a
      .consumer({ lease: "10s" })
      .on(orders, (_body: unknown, { signal }: Context) => {
        signals.push(signal);
        return new Promise<void>(() => {});
      })
      .start();
    await b
      .consumer()
      .on(orders, () => new Promise<void>(() => {}))
      .start();
    a.receiver.deliver({ id: "m1" });
    await turns();
    w.inbox.expireLeases();
    b.receiver.deliver({ id: "m1" });
    await w.pass(5_100);
    expect(signals[0]?.aborted).toBe(true);
    expect(signals[0]?.reason).toMatchObject({ code: "fenced" });
  });

  test.each(["claim", "end"])(
    "a store that fails at %s: no ack, released after a back-off, surfaced; later it runs",
    async (when) => {
      const w = world();
      const a = await w.process();
      let ran = 0;
      await a
        .consumer()
        .on(orders, () => {
          if (ran++ === 0 && when === "end") w.inbox.broken = disk;
        })
        .start();
      if (when === "claim") w.inbox.broken = disk;
      a.receiver.deliver({ id: "m1" });
      await turns();
      expect(a.receiver.settled).toEqual([]);
      expect(a.of("surfaced").some(({ text }) => text.includes("the disk is gone"))).toBe(true);
      await w.until(() => a.receiver.settled.length > 0, 30_000);
      expect(a.receiver.settled).toEqual(["release m1"]);
      expect(ran).toBe(when === "claim" ? 0 : 1);
      expect(a.of("attempt-failed")).toEqual([]);
      w.inbox.broken = null;
      w.inbox.expireLeases();
      a.receiver.deliver({ id: "m1", count: 2 });
      await w.pass(30_000);
      expect(a.receiver.settled).toEqual(["release m1", "ack m1"]);
    },
  );

  test("where a broker takes nothing back, a failing store is asked again in place", async () => {
    const w = world();
    const a = await w.process({ release: "none", countsDeliveries: false });
    let ran = 0;
    await a
      .consumer()
      .on(orders, () => void ran++)
      .start();
    w.inbox.broken = disk;
    a.receiver.deliver({ id: "m1", count: null });
    await w.pass(60_000);
    expect(a.receiver.settled).toEqual([]);
    w.inbox.broken = null;
    await w.pass(60_000);
    expect(a.receiver.settled).toEqual(["ack m1"]);
    expect(ran).toBe(1);
  });

  test("a close writes the marks of running handlers before it leaves, and leaves no timer", async () => {
    const w = world();
    const a = await w.process();
    const gate = Promise.withResolvers<void>();
    const consumer = await a
      .consumer()
      .on(orders, () => gate.promise)
      .start();
    a.receiver.deliver({ id: "m1" }, { id: "m2" });
    await turns();
    const closing = consumer.close();
    gate.resolve();
    await turns();
    await closing;
    expect(a.receiver.settled).toEqual(["ack m1", "ack m2"]);
    expect(w.inbox.marks.map(({ state }) => state)).toEqual(["done", "done"]);
    expect(w.clock.pending()).toBe(0);
  });
});

describe("`tx`", () => {
  test("rule 20: effect and mark commit together in the user's database; a handler that throws leaves neither", async () => {
    const w = world();
    const a = await w.process();
    await a
      .consumer({ effect: "tx", attempts: 2, retryMin: 1, retryMax: 1 })
      .on(orders, async (_body, { tx, attempt, id }: { tx: never; attempt: number; id: string | null }) => {
        (tx as { set(name: string, value: unknown): void }).set(`bill of ${id}`, attempt);
        if (attempt === 1) throw new Error("declined");
      })
      .start();
    a.receiver.deliver({ id: "m1" });
    await w.until(() => a.receiver.settled.length > 0, 1_000);
    expect([...w.inbox.rows]).toEqual([["bill of m1", 2]]);
    expect(w.inbox.marks).toMatchObject([{ state: "done" }]);
    expect(a.receiver.settled).toEqual(["ack m1"]);
  });

  test("fenced at the commit: no effect, no ack", async () => {
    const w = world();
    const [a, b] = [await w.process(), await w.process()];
    const gate = Promise.withResolvers<void>();
    const write =
      (by: string) =>
      async (_body: unknown, { tx }: { tx: never }) => {
        (tx as { set(name: string, value: unknown): void }).set("by", by);
        if (by === "a") await gate.promise;
      };
    await a.consumer({ effect: "tx" }).on(orders, write("a")).start();
    await b.consumer({ effect: "tx" }).on(orders, write("b")).start();
    a.receiver.deliver({ id: "m1" });
    await turns();
    w.inbox.expireLeases();
    b.receiver.deliver({ id: "m1" });
    await turns();
    gate.resolve();
    await turns();
    expect([...w.inbox.rows]).toEqual([["by", "b"]]);
    expect(a.receiver.settled).toEqual([]);
    expect(b.receiver.settled).toEqual(["ack m1"]);
    expect(a.of("fenced")).toHaveLength(1);
  });

  test("an error of ours that a handler throws is the handler's", async () => {
    const w = world();
    const a = await w.process();
    await a
      .consumer({ effect: "tx", attempts: 1 })
      .on(orders, () => {
        throw new TallyError("store", "the shop's own store");
      })
      .start();
    a.receiver.deliver({ id: "m1" });
    await turns();
    expect(a.of("attempt-failed")).toMatchObject([{ error: { code: "handler" } }]);
  });

  test("a handler that has returned leaves its lane to the next one before the commit; nothing is acked before it", async () => {
    const commit = Promise.withResolvers<void>();
    const w = world(
      transactingAs(async (run, claim, effect) => {
        const value = await run(claim, effect);
        await commit.promise;
        return value;
      }),
    );
    const a = await w.process();
    const ran: (string | null)[] = [];
    const consumer = await a
      .consumer({ effect: "tx", lanes: 1 })
      .on(orders, (_body, { id }) => void ran.push(id))
      .start();
    a.receiver.deliver({ id: "m1" }, { id: "m2" });
    await turns();
    expect(ran).toEqual(["m1", "m2"]);
    expect(a.receiver.settled).toEqual([]);
    let closed = false;
    const closing = consumer.close().then(() => (closed = true));
    await turns();
    expect(closed).toBe(false);
    commit.resolve();
    await closing;
    expect(a.receiver.settled).toEqual(["ack m1", "ack m2"]);
  });

  const undone = new Error("undone");
  test.each<[string, Parameters<typeof transactingAs>[0], number]>([
    [
      "a handler that is begun anew",
      async (run, claim, effect) => {
        await run(claim, async (tx) => {
          await effect(tx);
          throw undone;
        }).catch((thrown: unknown) => expect(thrown).toBe(undone));
        return await run(claim, effect);
      },
      2,
    ],
    [
      "a handler that returns after the store gave up on it",
      async (_run, _claim, effect) => {
        void effect({} as MemoryTx).catch(() => {});
        await turns(1);
        throw new TallyError("handler-deadline", "it did nothing with its tx");
      },
      1,
    ],
  ])("%s: no lane is lost by it, and none is gained", async (_name, run, times) => {
    const w = world(transactingAs(run));
    const a = await w.process();
    let [ran, held] = [0, 0];
    // A lane is held while a body is read: what hangs there takes no turn of the store.
    const validate = (value: unknown): { value: unknown } | Promise<never> =>
      (value as { hangs?: true }).hangs ? (held++, new Promise(() => {})) : { value };
    const slow = topic("orders", { schema: { "~standard": { version: 1, vendor: "test", validate } } });
    await a
      .consumer({ effect: "tx", lanes: 2, attempts: 1, onError: () => release() })
      .on(slow, async () => {
        ran++;
        await turns(3);
      })
      .start();
    a.receiver.deliver(...Array.from({ length: 20 }, (_, n) => ({ id: `m${n}` })));
    await w.until(() => ran === 20 * times, 10_000);
    await w.pass(1_000);
    a.receiver.deliver(...Array.from({ length: 5 }, (_, n) => ({ id: `h${n}`, body: asJson({ hangs: true }) })));
    await turns();
    expect(held).toBe(2);
  });

  test("is refused by name where the inbox has no transactions", async () => {
    const w = world(memoryInbox({ transactions: false }));
    const a = await w.process();
    const starting = a
      .consumer({ effect: "tx" })
      .on(orders, () => {})
      .start();
    await expect(starting).rejects.toMatchObject({ code: "unsupported" });
  });
});

describe("the identity of an effect is (group, topic, producer, id), compared as bytes", () => {
  test("rule 1: published twice under one id, by a publisher that was restarted in between: one effect", async () => {
    const w = world();
    const a = await w.process();
    const ran: string[] = [];
    await a
      .consumer()
      .on(orders, (_body, { id }) => void ran.push(id ?? ""))
      .start();
    a.receiver.deliver({ id: "pay-1", run: "a".repeat(32), seq: 7 }, { id: "pay-1", run: "b".repeat(32), seq: 1 });
    await turns();
    expect(ran).toEqual(["pay-1"]);
    expect(a.receiver.settled).toEqual(["ack pay-1", "ack pay-1"]);
  });

  test("rule 1: two groups on one inbox: each has its effect", async () => {
    const w = world();
    const a = await w.process();
    const ran: string[] = [];
    for (const group of ["billing", "mail"]) {
      await a
        .consumer({}, group)
        .on(orders, () => void ran.push(group))
        .start();
      a.receiver.deliver({ id: "m1" });
      await turns();
    }
    expect(ran).toEqual(["billing", "mail"]);
  });

  test.each([
    ["two topics", { topic: "bills" }, {}],
    ["two producers", { producer: "web" }, {}],
    ["ids that differ in case", { id: "M1" }, {}],
    ["ids that differ in their normal form", { id: "é" }, { id: "e\u0301" }],
  ])("rule 1: one id, but %s: two effects", async (_what, one, other) => {
    const w = world();
    const a = await w.process();
    let ran = 0;
    const count = (): void => void ran++;
    await a.consumer().on(orders, count).on(topic("bills"), count).start();
    const body = asJson({});
    for (const message of [
      { id: "m1", body, ...one },
      { id: "m1", body, ...other },
    ]) {
      const to = (message as { topic?: string }).topic ?? "orders";
      a.transport.receivers.find((r) => r.subscription.topic.name === to)!.deliver(message);
    }
    await turns();
    expect(ran).toBe(2);
  });

  test("rule 1: the same identity with another body is a conflict: dead-lettered, not acked as a duplicate", async () => {
    const w = world();
    const a = await w.process();
    let ran = 0;
    await a
      .consumer()
      .on(orders, () => void ran++)
      .start();
    a.receiver.deliver({ id: "m1", body: asJson({ cents: 1 }) });
    await turns();
    a.receiver.deliver({ id: "m1", body: asJson({ cents: 2 }) });
    await turns();
    expect(ran).toBe(1);
    expect(a.of("conflict")).toHaveLength(1);
    expect(a.of("duplicate")).toEqual([]);
    expect(a.letters).toMatchObject([{ body: '{"cents":2}', options: { headers: { "dead-id": "m1" } } }]);
    // A message of its own: it must not be taken for the first one's dead letter.
    expect(a.letters[0]!.options.id).toMatch(/^m1#[0-9a-f]{16}$/);
    expect(a.receiver.settled).toEqual(["ack m1", "ack m1"]);
  });
});

describe("a foreign message without id", () => {
  const foreign = { id: null, producer: null, body: asJson({ cents: 100 }) };

  test("rule 2: a foreign message without id is deduped by a place that the broker guarantees", async () => {
    const w = world();
    const a = await w.process({ position: true });
    let ran = 0;
    await a
      .consumer()
      .on(orders, () => void ran++)
      .start();
    a.receiver.deliver({ ...foreign, place: "0/17" }, { ...foreign, place: "0/18" }, { ...foreign, place: "0/17" });
    await turns();
    expect(ran).toBe(2);
    expect(a.receiver.settled).toHaveLength(3);
  });

  test("rule 2: a foreign message without id is deduped by the consumer's id function", async () => {
    const w = world();
    const a = await w.process();
    let ran = 0;
    await a
      .consumer({ id: ({ headers }) => headers["n"] ?? "" })
      .on(orders, () => void ran++)
      .start();
    a.receiver.deliver(...["1", "2", "1"].map((n) => ({ ...foreign, headers: { n } })));
    await turns();
    expect(ran).toBe(2);
  });

  test("rule 2: a foreign message is never deduped by its body: two equal payments are two; it runs without inbox, counted, surfaced once", async () => {
    const w = world();
    const a = await w.process();
    let ran = 0;
    await a
      .consumer()
      .on(orders, () => void ran++)
      .start();
    a.receiver.deliver(foreign, foreign, foreign);
    await turns();
    expect(ran).toBe(3);
    expect(a.receiver.settled).toHaveLength(3);
    expect(a.of("unguarded")).toHaveLength(3);
    expect(a.of("unidentified")).toHaveLength(1);
    expect(w.inbox.marks).toEqual([]);
  });

  test("what a handler throws is shown by its beginning where it is long; the whole is the cause", async () => {
    const a = await world().process();
    const thrown = new Error("x".repeat(3_000_000));
    await a
      .consumer({ attempts: 1 })
      .on(orders, () => Promise.reject(thrown))
      .start();
    a.receiver.deliver({ id: "m1" });
    await turns();
    const { error } = a.of("attempt-failed")[0]!;
    expect([error.message.length < 2_100, error.cause]).toEqual([true, thrown]);
    expect(error.message).toMatch(/x… \(3000000 characters\)$/);
  });

  test("rule 2: a handler with a transaction is not run without one, and the error says what to do", async () => {
    const w = world();
    const a = await w.process();
    let ran = 0;
    await a
      .consumer({ effect: "tx", attempts: 1 })
      .on(orders, () => void ran++)
      .start();
    a.receiver.deliver(foreign);
    await turns();
    expect([ran, a.receiver.settled.includes("ack")]).toEqual([0, false]);
    expect(a.of("attempt-failed")[0]!.error).toMatchObject({
      code: "handler",
      message: expect.stringMatching(/did not run: effect "tx".*give the consumer id/),
    });
  });
});

type Run = (claim: FreshClaim, effect: (tx: MemoryTx) => Promise<unknown>) => Promise<unknown>;

/** An inbox with transactions of another kind. */
function transactingAs(run: (inner: Run, ...args: Parameters<Run>) => Promise<unknown>): MemoryInbox {
  const inbox = memoryInbox();
  return Object.create(inbox, {
    openInbox: {
      async value(host: StoreHost) {
        const store = await inbox.openInbox(host);
        const inner = store.transactions!;
        const transactions = { ...inner, run: (...args: Parameters<Run>) => run(inner.run.bind(inner), ...args) };
        return { ...store, transactions };
      },
    },
  }) as MemoryInbox;
}
