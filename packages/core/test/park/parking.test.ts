// Rule 16, run by run: processes of one group over a scripted wire, with one inbox.
import { memoryInbox } from "@tallymq/testkit";
import { afterEach, describe, expect, test } from "vitest";
import { deadLetter, park, release, retry } from "../../src/consume/rulings.ts";
import { TallyError } from "../../src/error.ts";
import { armFailpoints } from "../../src/failpoints.ts";
import { topic } from "../../src/topic.ts";
import { type GuardedBench, turns, world } from "../support/guarded.ts";
import { bench } from "../support/receiving.ts";

interface Order {
  readonly id: string | null;
}
const orders = topic<Order>("orders", { key: () => "", ordered: true });
const fail = (): never => {
  throw new Error("declined");
};
const K = { group: "billing", topic: "orders", key: "k" };

afterEach(() => armFailpoints(null));

/** A consumer whose handler fails for these ids; gives what it was called with. */
async function consumer(
  process: GuardedBench,
  bad: ReadonlySet<string>,
  options: Parameters<GuardedBench["consumer"]>[0] = {},
  group = "billing",
): Promise<string[]> {
  const ran: string[] = [];
  await process
    .consumer({ retryMin: 1, retryMax: 10, ...options } as never, group)
    .on(orders, ({ id }) => {
      ran.push(id!);
      if (bad.has(id!)) fail();
    })
    .start();
  return ran;
}

describe("the head of an ordered key that has failed", () => {
  test("is parked after its attempts in place, then acked; what follows goes behind it without running, other keys go on", async () => {
    const w = world();
    const a = await w.process();
    const ran = await consumer(a, new Set(["m1"]), { attempts: 3 });
    a.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" }, { id: "x1", key: "x" }, { id: "m3", key: "k" });
    await w.until(() => a.receiver.settled.length === 4, 5_000);
    expect(ran.filter((id) => id !== "x1")).toEqual(["m1", "m1", "m1"]);
    expect(ran).toContain("x1");
    expect(a.receiver.settled.filter((line) => !line.includes("x1"))).toEqual(["ack m1", "ack m2", "ack m3"]);
    expect(w.inbox.parked.map(({ message, key, reason }) => [message.id, key, reason])).toEqual([
      ["m1", "k", expect.stringMatching(/declined/)],
      ["m2", "k", "behind a parked message of its key"],
      ["m3", "k", "behind a parked message of its key"],
    ]);
    expect(a.of("key-parked")).toMatchObject([{ topic: "orders", group: "billing", id: "m1", key: "k" }]);
    expect(a.of("parked-behind").map(({ id }) => id)).toEqual(["m2", "m3"]);
    expect(a.letters).toEqual([]);
  });

  test("rule 16: head parked on A, A killed: the key's next message on B does not run", async () => {
    const w = world();
    const a = await w.process();
    await consumer(a, new Set(["m1"]), { attempts: 1 });
    a.receiver.deliver({ id: "m1", key: "k" });
    await w.until(() => a.receiver.settled.length === 1, 5_000);
    a.kill();
    const b = await w.process();
    const ran = await consumer(b, new Set());
    b.receiver.deliver({ id: "m2", key: "k" }, { id: "x1", key: "x" });
    await w.until(() => b.receiver.settled.length === 2, 5_000);
    expect(ran).toEqual(["x1"]);
    expect(w.inbox.parked.map(({ message }) => message.id)).toEqual(["m1", "m2"]);
  });

  test("killed between the park and its ack: the redelivery is parked as the same, and acked without running", async () => {
    const w = world();
    const a = await w.process();
    await consumer(a, new Set(["m1"]), { attempts: 1 });
    armFailpoints((point) => {
      if (point === "park.parked") a.kill();
    });
    a.receiver.deliver({ id: "m1", key: "k" });
    await turns();
    expect(w.inbox.parked).toHaveLength(1);
    expect(a.receiver.settled).toEqual([]);
    const b = await w.process();
    const ran = await consumer(b, new Set());
    b.receiver.deliver({ id: "m1", key: "k", count: 2 });
    await turns();
    // Not busy: its claim ended with the park.
    expect(b.receiver.settled).toEqual(["ack m1"]);
    expect(ran).toEqual([]);
    expect(w.inbox.parked).toHaveLength(1);
  });

  test("A's claim ran out and B has it: A parks nothing", async () => {
    const w = world();
    const [a, b] = [await w.process(), await w.process()];
    const gate = Promise.withResolvers<void>();
    await a
      .consumer({ attempts: 1, lease: "2s" })
      .on(orders, () => gate.promise.then(fail))
      .start();
    const ran = await consumer(b, new Set());
    a.receiver.deliver({ id: "m1", key: "k" });
    await turns();
    w.inbox.expireLeases();
    b.receiver.deliver({ id: "m1", key: "k", count: 2 });
    await turns();
    expect(ran).toEqual(["m1"]);
    gate.resolve();
    await w.pass(1_000);
    expect(w.inbox.parked).toEqual([]);
    expect(a.of("fenced")).toHaveLength(1);
    b.receiver.deliver({ id: "m2", key: "k" });
    await turns();
    expect(ran).toEqual(["m1", "m2"]);
  });

  test("two groups on one store: each has parked keys of its own", async () => {
    const w = world();
    const a = await w.process();
    const billing = await consumer(a, new Set(["m1"]), { attempts: 1 });
    const first = a.receiver;
    const mail = await consumer(a, new Set(), {}, "mail");
    first.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" });
    a.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" });
    await w.until(() => first.settled.length === 2 && a.receiver.settled.length === 2, 5_000);
    expect(billing).toEqual(["m1"]);
    expect(mail).toEqual(["m1", "m2"]);
    expect(new Set(w.inbox.parked.map(({ group }) => group))).toEqual(new Set(["billing"]));
  });

  test("of a `tx` consumer: its writes are undone, and it is parked", async () => {
    const w = world();
    const a = await w.process();
    const consumers = a.consumer({ effect: "tx", attempts: 1 }) as never as ReturnType<typeof a.consumer>;
    await consumers
      .on(orders, ({ id }, context) => {
        (context as never as { tx: { set(name: string, value: unknown): void } }).tx.set(id!, 1);
        if (id === "m1") fail();
      })
      .start();
    a.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" }, { id: "x1", key: "x" });
    await w.until(() => a.receiver.settled.length === 3, 5_000);
    expect([...w.inbox.rows.keys()]).toEqual(["x1"]);
    expect(w.inbox.parked).toHaveLength(2);
  });

  test("that cannot be read is parked, not given up: what follows it may be meant for after it", async () => {
    const w = world();
    const a = await w.process();
    const ran = await consumer(a, new Set());
    a.receiver.deliver({ id: "m1", key: "k", body: new Uint8Array([0x7b]) }, { id: "m2", key: "k" });
    await w.until(() => a.receiver.settled.length === 2, 5_000);
    expect(ran).toEqual([]);
    expect(w.inbox.parked.map(({ message }) => message.id)).toEqual(["m1", "m2"]);
    expect(a.letters).toEqual([]);
  });

  test("that kills its process each time is parked after `maxAttempts` starts, by whichever process", async () => {
    const w = world();
    for (let start = 1; start <= 4; start++) {
      const a = await w.process();
      let ran = 0;
      await a
        .consumer({ maxAttempts: 3, lease: "1s" })
        .on(orders, () => {
          ran++;
          return new Promise(() => {});
        })
        .start();
      a.receiver.deliver({ id: "m1", key: "k", count: start }, { id: "m2", key: "k", count: start });
      await w.pass(2_000);
      if (start < 4) expect(ran).toBe(1);
      else expect([ran, a.receiver.settled]).toEqual([0, ["ack m1", "ack m2"]]);
      a.kill();
    }
    expect(w.inbox.parked.map(({ message, reason }) => [message.id, reason])).toEqual([
      ["m1", "started 3 times, and never done"],
      ["m2", expect.any(String)],
    ]);
  });

  test("is not parked while its handler still runs, late: its replay would run beside it", async () => {
    const w = world();
    const a = await w.process();
    const gate = Promise.withResolvers<void>();
    await a
      .consumer({ attempts: 1, processingDeadline: "1s" })
      .on(orders, () => gate.promise)
      .start();
    a.receiver.deliver({ id: "m1", key: "k" });
    await w.pass(5_000);
    expect(w.inbox.parked).toEqual([]);
    gate.resolve();
    await w.until(() => a.receiver.settled.length === 1, 1_000);
    expect(w.inbox.parked).toHaveLength(1);
  });

  test("is released when the store takes nothing, with what is behind it in order; nothing runs past it", async () => {
    const w = world();
    const a = await w.process();
    const ran = await consumer(a, new Set(["m1"]), { attempts: 2 });
    a.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" });
    await turns(2);
    w.inbox.broken = new TallyError("store", "the disk is gone", { retryable: true });
    await w.until(() => a.receiver.settled.length === 2, 20_000);
    expect(a.receiver.settled).toEqual(["release m1", "release m2"]);
    expect(ran).not.toContain("m2");
    expect(w.inbox.parked).toEqual([]);
  });
});

describe("what comes of a parked key", () => {
  test("without an identity goes behind it too, and is known by its place there", async () => {
    const w = world();
    const a = await w.process();
    const ran = await consumer(a, new Set(["m1"]), { attempts: 1 });
    a.receiver.deliver({ id: "m1", key: "k" });
    await w.until(() => a.receiver.settled.length === 1, 5_000);
    a.receiver.deliver({ id: null, producer: null, key: "k" }, { id: null, producer: null, key: "x" });
    await w.until(() => a.receiver.settled.length === 3, 5_000);
    expect(ran).toEqual(["m1", null]);
    expect(w.inbox.parked).toHaveLength(2);
    const [, second] = await a.parked.keys.messages(K);
    expect([second!.id, second!.producer]).toEqual([null, null]);
  });

  test("with the same identity and another body is a conflict: a dead letter, not taken for the one that waits", async () => {
    const w = world();
    const a = await w.process();
    await consumer(a, new Set(["m1"]), { attempts: 1 });
    a.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" });
    await w.until(() => a.receiver.settled.length === 2, 5_000);
    a.receiver.deliver({ id: "m2", key: "k", body: new TextEncoder().encode('{"id":"other"}') });
    await w.until(() => a.receiver.settled.length === 3, 5_000);
    expect(a.letters.map(({ body }) => body)).toEqual(['{"id":"other"}']);
    expect(w.inbox.parked).toHaveLength(2);
  });

  test("while a replay empties the key between claim and park: nothing waits for nobody, it runs", async () => {
    const w = world();
    const a = await w.process();
    const ran = await consumer(a, new Set(["m1"]), { attempts: 1 });
    a.receiver.deliver({ id: "m1", key: "k" });
    await w.until(() => a.receiver.settled.length === 1, 5_000);
    armFailpoints((point) => {
      if (point === "park.parking") (w.inbox.parked as unknown[]).length = 0;
    });
    a.receiver.deliver({ id: "m2", key: "k" });
    await w.until(() => a.receiver.settled.length === 2, 5_000);
    expect(ran).toEqual(["m1", "m2"]);
    expect(w.inbox.parked).toEqual([]);
  });

  test("that is done, or dead, is what it is", async () => {
    const w = world();
    const a = await w.process();
    const ran = await consumer(a, new Set(["m1", "m3"]), {
      onError: (_error, { id }) => (id === "m3" ? deadLetter("no") : park("look at it")),
    });
    a.receiver.deliver({ id: "m0", key: "k" }, { id: "m3", key: "k" }, { id: "m1", key: "k" });
    await w.until(() => a.receiver.settled.length === 3, 5_000);
    a.receiver.deliver({ id: "m0", key: "k", count: 2 }, { id: "m3", key: "k", count: 2 });
    await w.until(() => a.receiver.settled.length === 5, 5_000);
    expect(ran).toEqual(["m0", "m3", "m1"]);
    expect(a.letters.map(({ options }) => options.id)).toEqual(["m3", "m3"]);
    expect(w.inbox.parked.map(({ message, reason }) => [message.id, reason])).toEqual([["m1", "look at it"]]);
  });
});

describe("the store's bound", () => {
  test("holds the topic: nothing is settled or begun past it, until there is room", async () => {
    const w = world(memoryInbox({ maxParked: 2 }));
    const a = await w.process();
    const ran = await consumer(a, new Set(["m1"]), { attempts: 1 });
    a.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" }, { id: "m3", key: "k" }, { id: "m4", key: "k" });
    await w.until(() => a.of("parked-full").length > 0, 5_000);
    a.receiver.deliver({ id: "x1", key: "x" }, { id: "x2", key: "x" }, { id: "y1", key: null });
    await w.pass(60_000);
    expect(a.receiver.settled).toEqual(["ack m1", "ack m2"]);
    expect(ran).toEqual(["m1"]);
    expect(a.of("parked-full")).toMatchObject([{ id: "m3", key: "k" }]);
    expect(a.of("parked-room")).toEqual([]);

    const [, second] = await a.parked.keys.messages(K);
    await a.parked.keys.purge({ ...K, place: second!.place });
    await w.until(() => a.receiver.settled.includes("ack m3"), 5_000);
    await w.pass(5_000);
    // m4 has met the bound in its turn.
    expect(a.receiver.settled.filter((line) => line.includes("m"))).toEqual(["ack m1", "ack m2", "ack m3"]);
    await a.parked.keys.purge({ ...K });
    await w.until(() => a.receiver.settled.length === 7, 10_000);
    expect(ran.filter((id) => id !== "m1").sort()).toEqual(["m4", "x1", "x2", "y1"]);
    expect(a.of("parked-room").length).toBe(a.of("parked-full").length);
  });

  test("met by a head: it is held with its claim, and parked when there is room", async () => {
    const w = world(memoryInbox({ maxParked: 1 }));
    const a = await w.process();
    await consumer(a, new Set(["j1", "m1"]), { attempts: 1, lease: "2s" });
    a.receiver.deliver({ id: "j1", key: "j" }, { id: "m1", key: "k" }, { id: "m2", key: "k" });
    await w.until(() => a.of("parked-full").length > 0, 5_000);
    const b = await w.process();
    const ran = await consumer(b, new Set());
    b.receiver.deliver({ id: "m1", key: "k", count: 2 });
    await w.pass(20_000);
    expect(b.of("busy").length).toBeGreaterThan(0);
    expect(ran).toEqual([]);
    expect(a.receiver.settled).toEqual(["ack j1"]);
    await a.parked.keys.purge({ ...K, key: "j" });
    await w.until(() => w.inbox.parked.some(({ message }) => message.id === "m1"), 5_000);
    expect(ran).toEqual([]);
  });

  test("a replay makes room though the topic stands still", async () => {
    const w = world(memoryInbox({ maxParked: 2 }));
    const a = await w.process();
    const bad = new Set(["m1"]);
    const ran = await consumer(a, bad, { attempts: 1 });
    a.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" }, { id: "m3", key: "k" });
    await w.until(() => a.of("parked-full").length > 0, 5_000);
    bad.clear();
    const replay = a.parked.keys.replay(K);
    await w.until(() => a.receiver.settled.length === 3 && w.inbox.parked.length === 0, 20_000);
    await replay;
    expect(ran.slice(1)).toEqual(["m1", "m2", "m3"]);
  });

  test("is past for one without an identity whose key has become free: the topic goes on while it runs, or is blocked", async () => {
    const w = world(memoryInbox({ maxParked: 1 }));
    const a = await w.process();
    const bad = new Set(["m1", "anonymous"]);
    const ran = await consumer(a, bad, { attempts: 1 });
    a.receiver.deliver({ id: "m1", key: "k" });
    await w.until(() => a.receiver.settled.length === 1, 5_000);
    a.receiver.deliver({ id: null, key: "k", body: new TextEncoder().encode('{"id":"anonymous"}') });
    await w.until(() => a.of("parked-full").length === 1, 5_000);
    a.receiver.deliver({ id: "x1", key: "x" });
    await a.parked.keys.purge(K);
    await w.pass(30_000);
    // Nothing can be parked without an identity: it blocks its own key, and no other.
    expect(ran.filter((id) => id === "anonymous").length).toBeGreaterThan(1);
    expect([a.receiver.settled.at(-1), a.of("parked-room").length]).toEqual(["ack x1", 1]);
  });

  test("a close while the topic stands still settles nothing", async () => {
    const w = world(memoryInbox({ maxParked: 1 }));
    const a = await w.process();
    const one = await a
      .consumer({ attempts: 1 } as never)
      .on(orders, fail)
      .start();
    a.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" }, { id: "x1", key: "x" });
    await w.until(() => a.of("parked-full").length > 0, 5_000);
    const closed = one.close();
    await w.pass(5_000);
    await closed;
    expect(a.receiver.settled).toEqual(["ack m1"]);
  });
});

describe("park() as a ruling", () => {
  test("parks at once, with its reason; onError decides when", async () => {
    const w = world();
    const a = await w.process();
    const ran = await consumer(a, new Set(["m1"]), {
      onError: (_error, { attempt }) => (attempt < 2 ? retry() : park("a person should look")),
    });
    a.receiver.deliver({ id: "m1", key: "k" });
    await w.until(() => a.receiver.settled.length === 1, 5_000);
    expect(ran).toEqual(["m1", "m1"]);
    expect(w.inbox.parked[0]!.reason).toBe("a person should look");
  });

  test("of no ordered key is unsupported: surfaced, and the delivery is released", async () => {
    const w = world();
    const a = await w.process();
    const free = topic<Order>("free");
    await a
      .consumer({ onError: () => park(), retryMin: 1, retryMax: 1 })
      .on(free, fail)
      .start();
    a.receiver.deliver({ id: "m1", key: "k" });
    await w.until(() => a.receiver.settled.length === 1, 5_000);
    expect(a.receiver.settled).toEqual(["release m1"]);
    expect(a.of("surfaced").map(({ text }) => text)).toEqual([expect.stringMatching(/\[unsupported\].*ordered/)]);
    expect(w.inbox.parked).toEqual([]);
  });

  test("release() still gives an ordered key back, in order", async () => {
    const w = world();
    const a = await w.process();
    await consumer(a, new Set(["m1"]), { onError: () => release({ after: 1 }) });
    a.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" });
    await w.until(() => a.receiver.settled.length === 2, 5_000);
    expect(a.receiver.settled).toEqual(["release m1", "release m2"]);
  });

  test("refuses a reason that is no text", () => {
    expect(() => park(1 as never)).toThrow(/bad-config/);
  });
});

describe("without an inbox a key is blocked", () => {
  test.each([
    ["by default", {}],
    ["also by park(), which is unsupported then", { onError: () => park() }],
  ])(
    "%s: its head is tried again in place for ever, surfaced once, and nothing of it is run past",
    async (_name, given) => {
      const b = bench();
      let works = false;
      const ran: (string | null)[] = [];
      await b
        .consumer({ attempts: 2, retryMin: 100, retryMax: 1_000, ...given })
        .on(orders, ({ id }) => {
          ran.push(id);
          if (id === "m1" && !works) fail();
        })
        .start();
      b.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" }, { id: "x1", key: "x" });
      await b.clock.advance(600_000);
      expect(ran.filter((id) => id === "m1").length).toBeGreaterThan(500);
      expect(ran).toContain("x1");
      expect(ran).not.toContain("m2");
      expect(b.receiver.settled).toEqual(["ack x1"]);
      const texts = b.of("surfaced").map(({ text }) => text);
      expect(texts.filter((text) => /key "k" is blocked/.test(text))).toHaveLength(1);
      expect(texts.some((text) => /\[unsupported\] park\(\) needs an inbox/.test(text))).toBe("onError" in given);
      works = true;
      await b.clock.advance(1_000);
      expect(b.receiver.settled).toEqual(["ack x1", "ack m1", "ack m2"]);
    },
  );

  test("with an inbox and effect none as well", async () => {
    const w = world();
    const a = await w.process();
    const ran = await consumer(a, new Set(["m1"]), { effect: "none", attempts: 1 });
    a.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" });
    await w.pass(5_000);
    expect(a.receiver.settled).toEqual([]);
    expect(ran).not.toContain("m2");
    expect(w.inbox.parked).toEqual([]);
  });

  test("a head without an identity, though there is an inbox", async () => {
    const w = world();
    const a = await w.process();
    await a.consumer({ attempts: 1, retryMin: 1, retryMax: 10 }).on(orders, fail).start();
    a.receiver.deliver({ id: null, producer: null, key: "k" });
    await w.pass(5_000);
    expect(a.receiver.settled).toEqual([]);
    expect(a.of("surfaced").filter(({ text }) => /is blocked/.test(text))).toHaveLength(1);
  });
});
