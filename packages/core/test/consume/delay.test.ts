import { describe, expect, test } from "vitest";
import { TallyError } from "../../src/error.ts";
import { deadLetter, delay, type Ruling, topic } from "../../src/index.ts";
import { delaying, type Order } from "../support/delaying.ts";
import { turns, world } from "../support/guarded.ts";
import { bench } from "../support/receiving.ts";

const orders = topic<Order>("orders", { groups: ["billing", "audit"] });
const keyed = topic<Order>("keyed", { groups: ["billing"], key: () => "k", ordered: true });
const fail = (): never => {
  throw new Error("declined");
};
const HOUR = 3_600_000;

describe("a delivery of no ordered key, whose attempts in place are used up", () => {
  test("comes again as a delayed copy of this group alone: the same message, its attempt counted on", async () => {
    await using b = await delaying();
    await b.start(orders, { attempts: 2, retryMin: 10, retryMax: 100 }, (_n, { headers }) => {
      if (b.runs.length < 3) fail();
      expect({ ...headers }).toEqual({ tenant: "acme" });
    });
    void b.tally.publish(orders, { n: 1 }, { id: "o-1", headers: { tenant: "acme" }, correlationId: "c" });
    await b.clock.runUntil(() => b.of("delayed").length === 1, 1_000);
    expect(b.of("delayed")).toMatchObject([
      { topic: "orders", group: "billing", id: "o-1", attempt: 2, afterMs: expect.any(Number) as number },
    ]);
    await b.clock.advance(0);
    expect(b.broker.messages("orders", "billing")).toMatchObject([
      {
        state: "delayed",
        message: { id: "o-1", producer: "shop", attempt: 2, correlationId: "c", seq: 1, headers: { tenant: "acme" } },
      },
    ]);
    expect(b.queue("orders", "audit")).toEqual(["1 waiting"]);
    await b.pass(1_000);
    expect(b.runs).toHaveLength(3);
    expect(b.queue("orders")).toEqual([]);
    expect(b.of("released")).toEqual([]);
  });

  test("waits longer from copy to copy, with full jitter, up to retryMax", async () => {
    const longest: number[] = [0, 0, 0, 0];
    for (let seed = 1; seed <= 30; seed++) {
      await using b = await delaying("none", seed);
      await b.start(orders, { attempts: 1, retryMin: 100, retryMax: 400, maxAttempts: 5 }, fail);
      void b.tally.publish(orders, { n: 1 });
      await b.pass(3_000);
      const waits = b.of("delayed").map((event) => (event as { afterMs: number }).afterMs);
      expect(waits).toHaveLength(4);
      for (const [i, wait] of waits.entries()) longest[i] = Math.max(longest[i]!, wait);
    }
    for (const [i, ceiling] of [100, 200, 400, 400].entries()) {
      expect(longest[i]).toBeLessThanOrEqual(ceiling);
      expect(longest[i]).toBeGreaterThan(ceiling / 2);
    }
  });

  test("holds neither credit nor lane meanwhile: with a credit of one the next message runs", async () => {
    await using b = await delaying();
    const onError = (): Ruling => delay({ after: "1h" });
    await b.start(orders, { lanes: 1, credit: 1, onError }, (n) => n === 1 && b.runs.length === 1 && fail());
    for (const n of [1, 2, 3]) void b.tally.publish(orders, { n });
    await b.pass(100);
    expect(b.runs.map(({ n }) => n)).toEqual([1, 2, 3]);
    expect(b.queue("orders")).toEqual(["1 delayed"]);
    await b.pass(HOUR);
    expect(b.runs.map(({ n }) => n)).toEqual([1, 2, 3, 1]);
    expect(b.runs[3]!.at - b.runs[0]!.at).toBeGreaterThanOrEqual(HOUR);
    expect(b.queue("orders")).toEqual([]);
  });

  test("is acked only after the broker's confirm of the copy", async () => {
    await using b = await delaying();
    await b.start(orders, { attempts: 1, onError: () => delay({ after: "1h" }) }, fail);
    void b.tally.publish(orders, { n: 1 });
    await b.clock.advance(0);
    // That one ran and failed: what is sent next is the copy.
    expect(b.runs).toHaveLength(1);
    b.broker.removeGroup("orders", "audit");
    await b.pass(1);
    expect(b.queue("orders")).toEqual(["1 delayed"]);
    b.broker.faults.on("send", 2).delayVerdict(5_000);
    void b.tally.publish(orders, { n: 2 });
    await b.pass(4_000);
    expect(b.queue("orders").toSorted()).toEqual(["1 delayed", "2 delayed", "2 unsettled"]);
    expect(b.of("delayed")).toHaveLength(1);
    await b.pass(1_100);
    expect(b.queue("orders").toSorted()).toEqual(["1 delayed", "2 delayed"]);
    expect(b.of("delayed")).toHaveLength(2);
  });

  test("goes back to the broker, and that is surfaced, when the copy does not get out", async () => {
    await using b = await delaying();
    await b.start(orders, { attempts: 1, retryMin: 10, retryMax: 20 }, () => b.runs.length === 1 && fail());
    b.broker.faults.on("send", 2).refuse(new TallyError("refused", "not this one"));
    void b.tally.publish(orders, { n: 1 });
    await b.pass(200);
    expect(b.of("delayed")).toEqual([]);
    expect(b.of("surfaced").map((event) => (event as { text: string }).text)).toContainEqual(
      expect.stringContaining("not this one"),
    );
    expect(b.of("released")).toHaveLength(1);
    expect(b.runs).toHaveLength(2);
    expect(b.queue("orders")).toEqual([]);
  });

  test("is a dead letter once it has come maxAttempts times, without an inbox too", async () => {
    await using b = await delaying();
    await b.start(orders, { attempts: 1, retryMin: 10, retryMax: 20, maxAttempts: 3 }, fail);
    void b.tally.publish(orders, { n: 1 }, { id: "o-1" });
    await b.pass(500);
    expect(b.runs).toHaveLength(3);
    expect(b.of("delayed").map((event) => (event as { attempt: number }).attempt)).toEqual([2, 3]);
    expect(b.of("dead-lettered")).toMatchObject([
      { id: "o-1", reason: expect.stringContaining("came 3 times") as string },
    ]);
    expect(b.queue("orders")).toEqual([]);
  });

  test("with an inbox: each copy has a fresh claim, and the started attempts bound them all", async () => {
    await using b = await delaying("inbox");
    await b.start(orders, { attempts: 1, retryMin: 10, retryMax: 20, maxAttempts: 3 }, fail);
    // The copy is there before the delivery is acked.
    b.broker.faults.on("send", 2).delayVerdict(100);
    void b.tally.publish(orders, { n: 1 }, { id: "o-1" });
    await b.pass(500);
    expect(b.runs).toHaveLength(3);
    expect(b.of("busy")).toEqual([]);
    expect(b.of("dead-lettered")).toHaveLength(1);
  });

  test("waits no longer than the broker can, where onError leaves the wait to the consumer", async () => {
    const w = world();
    const a = await w.process({ longestDelay: 2_000 });
    await a.consumer({ attempts: 1, retryMin: "1m", retryMax: "1m" }).on(orders, fail).start();
    for (let n = 0; n < 20; n++) {
      a.receiver.deliver({ id: `o-${n}` });
      await turns();
    }
    expect(a.receiver.settled).toHaveLength(20);
    const waits = a.of("delayed").map(({ afterMs }) => afterMs);
    expect([waits.length, Math.max(...waits)]).toEqual([20, 2_000]);
  });

  test("starts of processes that were killed count: it is a dead letter, not one more copy", async () => {
    const w = world();
    const options = { attempts: 1, maxAttempts: 3 };
    for (let n = 1; n <= 2; n++) {
      const killed = await w.process({ longestDelay: HOUR });
      await killed
        .consumer(options)
        .on(orders, () => new Promise<never>(() => {}))
        .start();
      killed.receiver.deliver({ id: "o-1" });
      await turns();
      killed.kill();
      await w.pass(16_000);
    }
    const last = await w.process({ longestDelay: HOUR });
    await last.consumer(options).on(orders, fail).start();
    last.receiver.deliver({ id: "o-1" });
    await w.until(() => last.receiver.settled.length > 0, 5_000);
    expect(last.of("delayed")).toEqual([]);
    const [letter] = last.letters;
    expect(letter?.options.headers).toMatchObject({ "dead-attempts": "3" });
    expect(letter?.options.headers?.["dead-reason"]).toContain("came 3 times");
  });

  test("of a topic that the broker turns out not to delay is released, and no more copies are tried", async () => {
    await using b = await delaying();
    await b.start(orders, { attempts: 1, retryMin: 10, retryMax: 20 }, () => b.runs.length < 4 && fail());
    b.broker.faults.on("send", 2).refuse(new TallyError("unsupported", "no delays here"));
    void b.tally.publish(orders, { n: 1 });
    await b.pass(500);
    expect([b.runs.length, b.of("delayed"), b.of("released").length]).toEqual([4, [], 3]);
    const said = b.of("surfaced").map((event) => (event as { text: string }).text);
    expect(said.filter((text) => text.includes("no delays here"))).toHaveLength(1);
    expect(b.queue("orders")).toEqual([]);
  });

  test("onError is told how often it was delayed, and decides", async () => {
    await using b = await delaying();
    const told: number[] = [];
    const onError = (_error: TallyError, { delays }: { readonly delays: number }): Ruling => {
      told.push(delays);
      return delays < 2 ? delay({ after: "1s" }) : deadLetter("enough");
    };
    await b.start(orders, { onError }, fail);
    void b.tally.publish(orders, { n: 1 });
    await b.pass(3_000);
    expect(told).toEqual([0, 1, 2]);
    expect(b.of("dead-lettered")).toMatchObject([{ reason: "enough" }]);
  });

  test("that was lost with its session needs no copy: it comes again by itself", async () => {
    await using b = await delaying();
    await b.start(orders, { attempts: 1, retryMin: 10, retryMax: 20 }, () => b.runs.length === 1 && fail());
    b.broker.faults.on("send", 2).loseSession({ stored: false });
    void b.tally.publish(orders, { n: 1 });
    await b.clock.advance(0);
    b.broker.faults.loseSessions();
    await b.pass(5_000);
    expect(b.queue("orders")).toEqual([]);
    expect(b.runs.length).toBeGreaterThanOrEqual(2);
    expect(b.runs.length).toBeLessThanOrEqual(3);
  });
});

describe("between the copy's confirm and the ack the connection breaks", () => {
  test.each([
    ["inbox", 1],
    ["none", 2],
  ] as const)("with %s: two deliveries of one identity, %i effects", async (inbox, count) => {
    await using b = await delaying(inbox);
    const effects: number[] = [];
    await b.start(orders, { attempts: 1, retryMin: 1_000, retryMax: 2_000 }, (n) => {
      if (b.runs.length === 1) fail();
      effects.push(n);
    });
    b.broker.faults.on("settle", 1).loseSession();
    void b.tally.publish(orders, { n: 1 }, { id: "o-1" });
    await b.pass(20_000);
    expect(b.of("delayed")).toHaveLength(1);
    expect(effects).toHaveLength(count);
    expect(b.of("duplicate")).toHaveLength(2 - count);
    expect(b.queue("orders")).toEqual([]);
  });
});

describe("delay() is refused by name", () => {
  test("for an ordered key: surfaced as unsupported, and treated as without onError", async () => {
    await using b = await delaying("inbox");
    await b.start(keyed, { attempts: 1, onError: () => delay({ after: "1s" }) }, fail);
    void b.tally.publish(keyed, { n: 1 });
    await b.pass(5_000);
    expect(b.of("delayed")).toEqual([]);
    expect(b.of("surfaced").map((event) => (event as { text: string }).text)).toContainEqual(
      expect.stringMatching(/unsupported.*ordered key/),
    );
    expect(b.of("key-parked")).toHaveLength(1);
    expect(b.runs).toHaveLength(1);
  });

  test("rule 17: by default an ordered key is never delayed by a copy either", async () => {
    await using b = await delaying();
    await b.start(keyed, { attempts: 2, retryMin: 10, retryMax: 20 }, () => b.runs.length < 5 && fail());
    void b.tally.publish(keyed, { n: 1 });
    void b.tally.publish(keyed, { n: 2 });
    await b.pass(1_000);
    expect(b.of("delayed")).toEqual([]);
    expect(b.runs.map(({ n }) => n)).toEqual([1, 1, 1, 1, 1, 2]);
  });

  test("for longer than the broker can: surfaced with its longest, and released", async () => {
    const w = world();
    const a = await w.process({ longestDelay: 2_000 });
    await a
      .consumer({ retryMin: 10, retryMax: 20, onError: () => delay({ after: 2_001 }) })
      .on(orders, fail)
      .start();
    a.receiver.deliver({ id: "o-1" });
    await w.until(() => a.receiver.settled.length > 0, 5_000);
    expect([a.receiver.settled, a.of("delayed")]).toEqual([["release o-1"], []]);
    expect(a.of("surfaced")[0]?.text).toContain("[unsupported] delay(): this broker delays by 2000 ms at most");
  });

  test("where the broker delays nothing: surfaced, and released; the default is a release without a word", async () => {
    for (const onError of [(): Ruling => delay({ after: "1s" }), undefined]) {
      const b = bench();
      const plain = topic<{ id: string | null }>("plain");
      await b
        .consumer({ attempts: 1, ...(onError === undefined ? {} : { onError }) })
        .on(plain, fail)
        .start();
      b.receiver.deliver({ id: "m1", count: 1 });
      await b.clock.advance(60_000);
      expect(b.receiver.settled).toEqual(["release m1"]);
      expect(b.of("surfaced")).toHaveLength(onError === undefined ? 0 : 1);
    }
  });
});
