// One thing, rule 21: a schema that fails what comes pauses its subscription, instead of emptying the queue into the dead letters.
import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { WatchedConsumer } from "../../src/consume/consumer.ts";
import { deadLetter, retry } from "../../src/consume/rulings.ts";
import { type Sample, SAMPLE, step, tripped } from "../../src/consume/schema-guard.ts";
import { TallyError } from "../../src/error.ts";
import { topic } from "../../src/topic.ts";
import { turns, world } from "../support/guarded.ts";
import { asJson, bench, settle } from "../support/receiving.ts";

const after = (verdicts: readonly boolean[], from: Sample = SAMPLE): Sample => verdicts.reduce(step, from);
const many = (n: number, readable: boolean): boolean[] => Array.from({ length: n }, () => readable);

describe("the sample of bodies", () => {
  test("trips at 20 of the first 20, not at 19 or with one that can be read among them", () => {
    expect(tripped(after(many(19, false)))).toBe(false);
    expect(tripped(after(many(20, false)))).toBe(true);
    expect(tripped(after([...many(10, false), true, ...many(39, false)]))).toBe(false);
  });

  test("rule 21: a sample trips at half of the last 100, wherever they lie, and forgets what is older", () => {
    expect(tripped(after([true, ...many(49, false)]))).toBe(false);
    expect(tripped(after([true, ...many(50, false)]))).toBe(true);
    const mixed = Array.from({ length: 1_000 }, (_, i) => i % 100 >= 49);
    expect(tripped(after([true, ...mixed]))).toBe(false);
    expect(tripped(after([...many(300, true), ...mixed.slice(0, 49), ...many(51, true), false, false]))).toBe(false);
    expect(tripped(after([...many(300, true), ...Array.from({ length: 100 }, (_, i) => i % 2 === 0)]))).toBe(true);
  });

  test("counts as a list of a hundred does, and costs nothing while all is well", () => {
    let sample = SAMPLE;
    const list: boolean[] = [];
    for (let i = 0, x = 1; i < 5_000; i++) {
      x = (x * 48_271) % 2_147_483_647;
      list.push(x % 10 < 6);
      sample = step(sample, list.at(-1)!);
      expect(sample.failed).toBe(list.slice(-100).filter((readable) => !readable).length);
      if (tripped(sample)) break;
    }
    expect(tripped(step(after(many(20, false)), true))).toBe(true);
    const well = after(many(200, true));
    expect(step(well, true)).toBe(well);
  });
});

const strict = topic("orders", { schema: z.object({ n: z.number() }) });
const wrong = (n: number) => ({ id: `m${n}`, body: asJson({ n: "no number" }) });
const right = (n: number) => ({ id: `m${n}`, body: asJson({ n }) });
const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i);

describe("a subscription whose schema fails the first 20 bodies", () => {
  test("rule 21: a schema that fails the first 20 bodies dead-letters fewer than 20 of a full queue, leaves the topic with the rest in the broker's hands, and says so", async () => {
    const w = world();
    const a = await w.process();
    await a
      .consumer({ lanes: 4 })
      .on(strict, () => {})
      .start();
    const { receiver } = a;
    receiver.deliver(...range(1, 90).map(wrong));
    await w.pass(30_000);
    expect(a.letters.length).toBeLessThan(20);
    expect(receiver.settled.toSorted()).toEqual(a.letters.map(({ options }) => `ack ${options.id}`).toSorted());
    expect([receiver.stopped, receiver.disposed]).toEqual([true, true]);
    expect(a.of("subscription-paused")).toMatchObject([
      { topic: "orders", group: "billing", failed: 20, bodies: 20, error: { code: "schema" } },
    ]);
    // Also when the broker has come back meanwhile: no session begins it again.
    receiver.events.lost(new TallyError("session-lost", "cut", { retryable: true }));
    await w.pass(60_000);
    expect(a.transport.receivers).toHaveLength(1);
    expect(w.clock.pending()).toBe(0);
  });

  test("resume() subscribes again with another sample of 20", async () => {
    const w = world();
    const a = await w.process();
    const seen: number[] = [];
    let schema: z.ZodType<{ n: number }> = z.object({ n: z.number() });
    const swapped = topic("orders", {
      schema: { "~standard": { version: 1, vendor: "test", validate: (v) => schema["~standard"].validate(v) } },
    });
    const consumer = await a
      .consumer({ lanes: 4 })
      .on(swapped, (body) => void seen.push((body as { n: number }).n))
      .start();
    a.receiver.deliver(...range(1, 30).map(wrong));
    await turns();
    expect(a.of("subscription-paused")).toHaveLength(1);
    expect((consumer as WatchedConsumer).status()).toMatchObject([{ what: "orders / billing", paused: true }]);
    consumer.resume();
    consumer.resume();
    await w.until(() => a.transport.receivers.length === 2, 1_000);
    expect((consumer as WatchedConsumer).status()).toMatchObject([{ paused: false, downSince: null }]);
    expect(a.of("subscription-resumed")).toHaveLength(1);
    a.receiver.deliver(...range(31, 49).map(wrong));
    await turns();
    expect(a.of("subscription-paused")).toHaveLength(1);
    a.receiver.deliver(...range(50, 60).map(wrong));
    await turns();
    expect(a.of("subscription-paused")).toHaveLength(2);
    schema = z.object({ n: z.literal("no number") }).transform(() => ({ n: 7 })) as never;
    consumer.resume();
    await w.until(() => a.transport.receivers.length === 3, 1_000);
    a.receiver.deliver(...range(61, 90).map(wrong));
    await turns(60);
    expect(seen).toHaveLength(30);
    expect(a.receiver.settled).toHaveLength(30);
  });

  test("a readable body whose handler fails again and again counts as one", async () => {
    const w = world();
    const a = await w.process();
    let ran = 0;
    await a
      .consumer({ lanes: 4, onError: (_e, { id }) => (id === "m50" ? retry({ after: 1 }) : deadLetter("no")) })
      .on(strict, () => {
        if (++ran < 150) throw new Error("not yet");
      })
      .start();
    a.receiver.deliver(right(0));
    await turns();
    a.receiver.deliver(...range(1, 49).map(wrong), right(50));
    await w.until(() => ran > 120, 60_000);
    expect(a.of("subscription-paused")).toEqual([]);
    a.receiver.deliver(wrong(51));
    await turns();
    expect(a.of("subscription-paused")).toMatchObject([{ failed: 50, bodies: 52 }]);
  });

  test("what runs is let finish and is acked; what waits comes again elsewhere; other topics go on", async () => {
    const w = world();
    const a = await w.process();
    const gate = Promise.withResolvers<void>();
    const others: (string | null)[] = [];
    await a
      .consumer({ lanes: 8 })
      .on(strict, () => gate.promise)
      .on(topic("bills"), (_body, { id }) => void others.push(id))
      .start();
    const [orders, bills] = a.transport.receivers;
    // Of a hundred all may be readable but fifty.
    orders!.deliver(right(0));
    await turns();
    orders!.deliver(...range(1, 60).map(wrong));
    await w.pass(1_000);
    expect(a.of("subscription-paused")).toMatchObject([{ failed: 50, bodies: 51 }]);
    expect(orders!.disposed).toBe(false);
    bills!.deliver({ id: "b1" });
    await turns();
    expect(others).toEqual(["b1"]);
    gate.resolve();
    await w.pass(1_000);
    expect(orders!.settled).toContain("ack m0");
    expect(orders!.disposed).toBe(true);
    expect(w.inbox.marks.find(({ key }) => key.id === "m0")).toMatchObject({ state: "done" });
    expect(bills!.disposed).toBe(false);
  });

  test("nothing starts any more of what waits for a lane, a claim or another attempt", async () => {
    const w = world();
    const a = await w.process();
    const ran: (string | null)[] = [];
    await a
      .consumer({ lanes: 2, credit: 1_000, onError: () => retry({ after: "1h" }) })
      .on(strict, ({ n }, { id }) => {
        ran.push(id);
        if (n === 0) throw new Error("not yet");
      })
      .start();
    a.receiver.deliver(right(0));
    await turns();
    // Claimed in twos: the fiftieth of the wrong ones with one that could run.
    a.receiver.deliver(right(99), ...range(1, 50).map(wrong), ...range(51, 90).map(right));
    await w.until(() => a.receiver.disposed, 10_000);
    expect(a.of("subscription-paused")).toHaveLength(1);
    expect(ran).toEqual(["m0", "m99"]);
    await w.pass(61_000);
    expect(w.clock.pending()).toBe(0);
  });

  test("a handler that does not settle keeps the session no longer than its deadline", async () => {
    const w = world();
    const a = await w.process();
    await a
      .consumer({ processingDeadline: "5s", onError: () => retry({ after: "1h" }) })
      .on(strict, () => new Promise<void>(() => {}))
      .start();
    a.receiver.deliver(right(0));
    await turns();
    a.receiver.deliver(...range(1, 60).map(wrong));
    await w.pass(4_000);
    expect(a.receiver.disposed).toBe(false);
    await w.pass(1_500);
    expect(a.receiver.disposed).toBe(true);
    expect(a.receiver.settled).not.toContain("ack m0");
  });

  test("a session lost while it is leaving is not replaced", async () => {
    const w = world();
    const a = await w.process();
    const gate = Promise.withResolvers<void>();
    await a
      .consumer()
      .on(strict, () => gate.promise)
      .start();
    a.receiver.deliver(right(0));
    await turns();
    a.receiver.deliver(...range(1, 60).map(wrong));
    await turns();
    a.receiver.events.lost(new TallyError("session-lost", "cut", { retryable: true }));
    await w.pass(30_000);
    expect(a.transport.receivers).toHaveLength(1);
  });

  test("a slow schema that trips while the session is away pauses all the same: none is opened", async () => {
    const w = world();
    const a = await w.process();
    const verdicts: PromiseWithResolvers<{ issues: { message: string }[] }>[] = [];
    const validate = (body: unknown): unknown => {
      if (typeof (body as { n: unknown }).n === "number") return { value: body };
      verdicts.push(Promise.withResolvers());
      return verdicts.at(-1)!.promise;
    };
    const slow = topic("orders", { schema: { "~standard": { version: 1, vendor: "test", validate } } as never });
    const ran: (string | null)[] = [];
    const consumer = await a
      .consumer({ effect: "none", lanes: 100 })
      .on(slow, (_body, { id }) => {
        ran.push(id);
        return new Promise(() => {});
      })
      .start();
    a.receiver.deliver(right(0), ...range(1, 50).map(wrong));
    await turns();
    a.receiver.events.lost(new TallyError("session-lost", "cut", { retryable: true }));
    for (const { resolve } of verdicts) resolve({ issues: [{ message: "no number" }] });
    await turns();
    expect(a.of("subscription-paused")).toHaveLength(1);
    await w.pass(20_000);
    expect(a.transport.receivers).toHaveLength(1);
    expect((consumer as WatchedConsumer).status()).toMatchObject([{ paused: true }]);
    consumer.resume();
    await w.pass(60_000);
    a.receiver.deliver(right(51));
    await turns();
    expect([a.transport.receivers.length, ran]).toEqual([2, ["m0", "m51"]]);
  });

  test("gives back at once what fails while it is leaving, however long it were to wait", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    await b
      .consumer({ lanes: 100, onError: () => retry({ after: "1h" }) })
      .on(strict, () => gate.promise)
      .start();
    b.receiver.deliver(right(0), ...range(1, 60).map(wrong));
    await settle();
    expect(b.of("subscription-paused")).toHaveLength(1);
    expect(b.receiver.disposed).toBe(false);
    gate.reject(new Error("not yet"));
    await settle();
    expect([b.receiver.disposed, b.receiver.settled]).toEqual([true, []]);
  });

  test("gives back at once what waits for somebody else's claim", async () => {
    const w = world();
    const [a, b] = [await w.process(), await w.process()];
    await b
      .consumer({ lease: "1m" })
      .on(topic("orders"), () => new Promise(() => {}))
      .start();
    b.receiver.deliver(right(0));
    await turns();
    await a
      .consumer({ lanes: 100 })
      .on(strict, () => {})
      .start();
    a.receiver.deliver(...range(1, 20).map(wrong), right(0));
    await turns();
    expect(a.of("subscription-paused")).toHaveLength(1);
    await w.pass(1_000);
    expect([a.receiver.disposed, a.receiver.settled.includes("ack m0")]).toEqual([true, false]);
  });

  test("a session that does not end keeps nobody from resuming for longer than the processing deadline", async () => {
    const b = bench();
    const consumer = await b
      .consumer({ processingDeadline: "10s" })
      .on(strict, () => {})
      .start();
    b.receiver.leaving = new Promise(() => {});
    b.receiver.deliver(...range(1, 20).map(wrong));
    await settle();
    expect(b.of("subscription-paused")).toHaveLength(1);
    consumer.resume();
    for (let i = 0; i < 30; i++) await b.clock.advance(1_000);
    expect(b.transport.receivers).toHaveLength(2);
  });

  test("close() while it is paused ends", async () => {
    const b = bench();
    const consumer = await b
      .consumer()
      .on(strict, () => {})
      .start();
    b.receiver.deliver(...range(1, 20).map(wrong));
    await settle();
    expect(b.of("subscription-paused")).toHaveLength(1);
    const closing = consumer.close();
    await b.clock.advance(1_000);
    await closing;
    consumer.resume();
    await b.clock.advance(10_000);
    expect(b.transport.receivers).toHaveLength(1);
    expect(b.clock.pending()).toBe(0);
  });
});

describe("what does not pause a subscription", () => {
  test("one body that comes again and again", async () => {
    const b = bench({ countsDeliveries: false });
    await b
      .consumer()
      .on(strict, () => {})
      .start();
    for (let n = 0; n < 60; n++) {
      b.receiver.deliver({ ...wrong(1), count: null });
      await b.clock.advance(20_000);
    }
    for (let n = 0; n < 60; n++) b.receiver.deliver({ ...wrong(n), count: 2 });
    await settle();
    expect(b.of("subscription-paused")).toEqual([]);
  });

  test("handlers that throw, however many", async () => {
    const w = world();
    const a = await w.process();
    await a
      .consumer({ onError: () => deadLetter() })
      .on(strict, () => {
        throw new TallyError("schema", "somebody else's schema");
      })
      .start();
    a.receiver.deliver(...range(1, 60).map(right));
    await turns(80);
    expect(a.letters).toHaveLength(60);
    expect(a.of("subscription-paused")).toEqual([]);
  });

  test("anything, with schemaGuard: false", async () => {
    const w = world();
    const a = await w.process();
    await a
      .consumer({ schemaGuard: false })
      .on(strict, () => {})
      .start();
    a.receiver.deliver(...range(1, 60).map(wrong));
    await turns(80);
    expect(a.letters).toHaveLength(60);
  });
});

test("a codec that cannot read counts as a schema does, and so does an asynchronous schema", async () => {
  const b = bench();
  const slow = topic("bills", { schema: z.object({ n: z.number().refine(async (n) => n > 0) }) });
  await b
    .consumer({ lanes: 40 })
    .on(topic("orders"), () => {})
    .on(slow, () => {})
    .start();
  const [orders, bills] = b.transport.receivers;
  orders!.deliver(...range(1, 20).map((n) => ({ id: `m${n}`, body: Uint8Array.of(0xff) })));
  bills!.deliver(...range(1, 20).map((n) => ({ id: `m${n}`, body: asJson({ n: -n }) })));
  await settle();
  expect(b.of("subscription-paused")).toMatchObject([
    { topic: "orders", error: { code: "decode" } },
    { topic: "bills", error: { code: "schema" } },
  ]);
});
