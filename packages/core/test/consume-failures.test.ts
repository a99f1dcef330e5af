import { describe, expect, test } from "vitest";
import { release, retry } from "../src/consume/rulings.ts";
import type { Ruling } from "../src/consume/options.ts";
import { TallyError } from "../src/error.ts";
import { topic } from "../src/topic.ts";
import { bench, settle } from "./support/receiving.ts";

const orders = topic<{ id: string | null }>("orders");
const fail = (): never => {
  throw new Error("declined");
};

describe("a handler that throws", () => {
  test("runs again in place up to `attempts`, then the delivery is released; each failure is an event", async () => {
    const b = bench();
    const attempts: number[] = [];
    await b
      .consumer({ attempts: 3 })
      .on(orders, (_body, { attempt }) => {
        attempts.push(attempt);
        fail();
      })
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.runUntil(() => b.receiver.settled.length > 0, 60_000);
    expect(attempts).toEqual([1, 2, 3]);
    expect(b.receiver.settled).toEqual(["release m1"]);
    expect(b.of("attempt-failed").map((e) => [e.attempt, e.id, e.error.code])).toEqual([
      [1, "m1", "handler"],
      [2, "m1", "handler"],
      [3, "m1", "handler"],
    ]);
    expect(b.of("released")).toHaveLength(1);
  });

  test("and succeeds at a later attempt is acked", async () => {
    const b = bench();
    await b
      .consumer()
      .on(orders, async (_body, { attempt }) => (attempt < 3 ? fail() : undefined))
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(20_000);
    expect(b.receiver.settled).toEqual(["ack m1"]);
    expect(b.clock.pending()).toBe(1); // the scan of deadlines, and no other
  });

  const frozen = Object.freeze(new Error("frozen"));
  test.each([
    ["a TypeError", new TypeError("x is not a function")],
    ["a string", "no"],
    ["undefined", undefined],
    ["a frozen error", frozen],
    ["an object that cannot be shown", { toString: () => fail() }],
    ["an error of ours", new TallyError("unroutable", "nowhere")],
  ])("%s is retried like any other, wrapped, with the thrown value as its cause", async (_what, thrown) => {
    for (const kind of ["throws", "rejects"]) {
      const b = bench();
      const causes: unknown[] = [];
      await b
        .consumer({
          onError(error, { attempt }) {
            causes.push(error.cause);
            expect(TallyError.is(error)).toBe(true);
            expect(error.code).toBe("handler");
            return attempt < 3 ? retry() : release();
          },
        })
        .on(orders, () => {
          if (kind === "throws") throw thrown as Error;
          return Promise.reject(thrown as Error);
        })
        .start();
      b.receiver.deliver({ id: "m1" });
      await b.clock.advance(60_000);
      expect(causes).toEqual([thrown, thrown, thrown]);
      expect(b.receiver.settled).toEqual(["release m1"]);
    }
  });

  test("waits between attempts with full jitter, doubling from retryMin up to retryMax", async () => {
    const waits: number[][] = [[], [], [], [], []];
    for (let seed = 1; seed <= 40; seed++) {
      const b = bench({}, seed);
      let last = 0;
      await b
        .consumer({ attempts: 6, retryMin: 100, retryMax: 400 })
        .on(orders, (_body, { attempt }) => {
          if (attempt > 1) waits[attempt - 2]!.push(b.clock.now() - last);
          last = b.clock.now();
          fail();
        })
        .start();
      b.receiver.deliver({});
      await b.clock.runUntil(() => b.receiver.settled.length > 0, 60_000);
    }
    for (const [i, ceiling] of [100, 200, 400, 400, 400].entries()) {
      expect(Math.max(...waits[i]!)).toBeLessThan(ceiling);
      expect(Math.max(...waits[i]!)).toBeGreaterThan(ceiling * 0.75);
      expect(Math.min(...waits[i]!)).toBeLessThan(ceiling * 0.25);
    }
  });

  test("gives its lane to others while it waits", async () => {
    const b = bench();
    const seen: (string | null)[] = [];
    await b
      .consumer({ lanes: 1 })
      .on(orders, (_body, { id, attempt }) => {
        seen.push(`${id}.${attempt}`);
        if (id === "bad" && attempt === 1) fail();
      })
      .start();
    b.receiver.deliver({ id: "bad" }, { id: "good" });
    await settle();
    expect(seen).toEqual(["bad.1", "good.1"]);
    await b.clock.advance(1_000);
    expect(seen).toEqual(["bad.1", "good.1", "bad.2"]);
  });
});

describe("onError", () => {
  test("decides: retry beyond `attempts`, a given wait, a release at the first failure", async () => {
    const b = bench();
    const at: number[] = [];
    const told: unknown[] = [];
    await b
      .consumer({
        attempts: 1,
        onError: (_error, failure) => {
          told.push(failure);
          return failure.attempt < 4 ? retry({ after: "250ms" }) : release({ after: "2s" });
        },
      })
      .on(orders, () => {
        at.push(b.clock.now());
        fail();
      })
      .start();
    b.receiver.deliver({ id: "m1", count: 7 });
    await b.clock.advance(2_749);
    expect(at).toEqual([0, 250, 500, 750]);
    expect(told[3]).toEqual({ attempt: 4, deliveries: 7, topic: "orders", id: "m1" });
    expect(b.receiver.settled).toEqual([]);
    await b.clock.advance(1);
    expect(b.receiver.settled).toEqual(["release m1"]);
    expect(b.of("released")).toMatchObject([{ afterMs: 2_000 }]);
  });

  test.each<[string, () => Ruling]>([
    ["throws", fail],
    ["returns nothing", () => undefined as unknown as Ruling],
    ["returns a promise", () => Promise.resolve(retry()) as unknown as Ruling],
    ["asks for a wait that cannot be", () => retry({ after: -1 })],
  ])("that %s counts as a release, and is surfaced", async (_what, onError) => {
    const b = bench();
    let ran = 0;
    await b
      .consumer({ onError })
      .on(orders, () => {
        ran++;
        fail();
      })
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(60_000);
    expect(ran).toBe(1);
    expect(b.receiver.settled).toEqual(["release m1"]);
    expect(b.of("surfaced")).toMatchObject([{ what: "orders / billing" }]);
  });

  test("that always retries at once leaves at least a millisecond between attempts", async () => {
    const b = bench();
    let ran = 0;
    await b
      .consumer({ onError: () => retry({ after: 0 }) })
      .on(orders, () => {
        ran++;
        fail();
      })
      .start();
    b.receiver.deliver({});
    await b.clock.advance(50);
    expect(ran).toBe(51);
  });
});

describe("a release", () => {
  test("is held back with its credit where the broker would send it again at once", async () => {
    const b = bench({ release: "now" });
    await b
      .consumer({ onError: () => release({ after: 5_000 }) })
      .on(orders, fail)
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(4_999);
    expect(b.receiver.settled).toEqual([]);
    await b.clock.advance(1);
    expect(b.receiver.batches.flat()).toMatchObject([{ kind: "release", afterMs: 0 }]);
  });

  test("is the broker's to delay where it can", async () => {
    const b = bench({ release: "delayed" });
    await b
      .consumer({ onError: () => release({ after: 5_000 }) })
      .on(orders, fail)
      .start();
    b.receiver.deliver({ id: "m1" });
    await settle();
    expect(b.receiver.batches.flat()).toMatchObject([{ kind: "release", afterMs: 5_000 }]);
  });

  test("becomes another attempt in place where the broker takes nothing back", async () => {
    const b = bench({ release: "none" });
    const at: number[] = [];
    await b
      .consumer({ onError: () => release({ after: 5_000 }) })
      .on(orders, () => {
        at.push(b.clock.now());
        if (at.length < 3) fail();
      })
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(20_000);
    expect(at).toEqual([0, 5_000, 10_000]);
    expect(b.receiver.settled).toEqual(["ack m1"]);
  });

  test("waits longer the more often the message was delivered, up to retryMax", async () => {
    const longest = async (count: number | null): Promise<number> => {
      let most = 0;
      for (let seed = 1; seed <= 30; seed++) {
        const b = bench({}, seed);
        await b.consumer({ attempts: 1, retryMin: 100, retryMax: 2_000 }).on(orders, fail).start();
        b.receiver.deliver({ id: "m1", count });
        await b.clock.advance(2_000);
        most = Math.max(most, b.of("released")[0]!.afterMs);
      }
      return most;
    };
    expect(await longest(1)).toBeLessThan(100);
    expect(await longest(4)).toBeGreaterThan(400);
    expect(await longest(4)).toBeLessThan(800);
    expect(await longest(50)).toBeGreaterThan(1_600);
    expect(await longest(null)).toBeGreaterThan(1_600);
    expect(await longest(50)).toBeLessThan(2_000);
  });
});

describe("the processing deadline", () => {
  test("fires the signal, fails the attempt with handler-deadline, and says so; one timer for all handlers", async () => {
    const b = bench();
    const reasons: unknown[] = [];
    await b
      .consumer({ processingDeadline: 1_000, onError: () => release({ after: 0 }) })
      .on(orders, async (_body, { signal }) => {
        await new Promise((resolve) => signal.addEventListener("abort", resolve));
        reasons.push(signal.reason);
        throw signal.reason;
      })
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(500);
    b.receiver.deliver({ id: "m2" }, { id: "m3" });
    expect(b.clock.pending()).toBe(1);
    await b.clock.advance(499);
    expect(reasons).toEqual([]);
    await b.clock.advance(1);
    expect(b.of("attempt-failed").map(({ id, error }) => [id, error.code])).toEqual([["m1", "handler-deadline"]]);
    expect(reasons).toMatchObject([{ code: "handler-deadline", id: "m1" }]);
    await b.clock.advance(500);
    expect(b.of("attempt-failed").map(({ id }) => id)).toEqual(["m1", "m2", "m3"]);
    expect(b.of("late-effect").map(({ id, outcome }) => [id, outcome])).toEqual([
      ["m1", "threw"],
      ["m2", "threw"],
      ["m3", "threw"],
    ]);
    expect(b.receiver.settled).toEqual(["release m1", "release m2", "release m3"]);
    await b.clock.advance(10_000);
    expect(b.clock.pending()).toBe(0);
  });

  test("a signal asked for after it has fired already", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    const seen: boolean[] = [];
    await b
      .consumer({ processingDeadline: 1_000 })
      .on(orders, async (_body, context) => {
        await gate.promise;
        seen.push(context.signal.aborted);
      })
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(1_000);
    gate.resolve();
    await settle();
    expect(seen[0]).toBe(true);
  });

  test("a late handler that returns acks nothing; the delivery is tried again once it has settled", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    const started: number[] = [];
    await b
      .consumer({ processingDeadline: 1_000, onError: () => retry({ after: 100 }) })
      .on(orders, async (_body, { attempt }) => {
        started.push(attempt);
        if (attempt === 1) await gate.promise;
      })
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(1_050);
    gate.resolve();
    await settle();
    expect(b.of("late-effect")).toMatchObject([{ id: "m1", outcome: "returned" }]);
    expect(b.receiver.settled).toEqual([]);
    await b.clock.advance(50);
    expect(started).toEqual([1, 2]);
    expect(b.receiver.settled).toEqual(["ack m1"]);
  });

  test("a late handler that has not settled by the end of the back-off: released, not run beside itself", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    let started = 0;
    await b
      .consumer({ processingDeadline: 1_000, onError: () => retry({ after: 100 }) })
      .on(orders, () => {
        started++;
        return gate.promise;
      })
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(1_100);
    expect(b.receiver.settled).toEqual(["release m1"]);
    gate.resolve();
    await b.clock.advance(10_000);
    expect(started).toBe(1);
  });

  test("a late handler keeps its lane, so that no more than `lanes` run, and says when it holds the last one", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    const started: (string | null)[] = [];
    await b
      .consumer({ lanes: 1, processingDeadline: 1_000 })
      .on(orders, async (_body, { id }) => {
        started.push(id);
        if (id === "m1") await gate.promise;
      })
      .start();
    b.receiver.deliver({ id: "m1" }, { id: "m2" });
    await b.clock.advance(30_000);
    expect(started).toEqual(["m1"]);
    expect(b.of("surfaced")).toHaveLength(1);
    gate.resolve();
    await settle();
    expect(started).toEqual(["m1", "m2"]);
  });

  test.each([true, false])("the next of a key (ordered: %s) does not run beside a late handler", async (ordered) => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    const started: (string | null)[] = [];
    await b
      .consumer({ processingDeadline: 1_000, onError: () => release({ after: 0 }) })
      .on(topic("keyed", { key: () => "k", ordered }), async (_body, { id }) => {
        started.push(id);
        if (started.length === 1) await gate.promise;
      })
      .start();
    b.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" });
    await b.clock.advance(30_000);
    expect(started).toEqual(["m1"]);
    // Released, an ordered delivery could run elsewhere beside the late handler.
    expect(b.receiver.settled).toEqual(ordered ? [] : ["release m1"]);
    gate.resolve();
    await b.clock.advance(0);
    expect(b.receiver.settled).toEqual(ordered ? ["release m1", "release m2"] : ["release m1", "ack m2"]);
    expect(started).toEqual(ordered ? ["m1"] : ["m1", "m2"]);
  });

  test("covers an asynchronous schema: the handler is not called after it", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    let ran = 0;
    const slow = topic("orders", {
      schema: {
        "~standard": {
          version: 1 as const,
          vendor: "test",
          validate: (value: unknown) => gate.promise.then(() => ({ value })),
        },
      },
    });
    await b
      .consumer({ processingDeadline: 1_000, onError: () => release({ after: 0 }) })
      .on(slow, () => void ran++)
      .start();
    b.receiver.deliver({ id: "m1" });
    await b.clock.advance(1_000);
    expect(b.of("attempt-failed")).toMatchObject([{ error: { code: "handler-deadline" } }]);
    gate.resolve();
    await settle();
    expect(ran).toBe(0);
    expect(b.of("late-effect")).toEqual([]);
  });
});
