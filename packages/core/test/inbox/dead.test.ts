// One life of a dead letter: from the ruling to the ack, with a kill at each step.
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { deadLetter, retry } from "../../src/consume/rulings.ts";
import { TallyError } from "../../src/error.ts";
import { bodyHash } from "../../src/hash.ts";
import { topic } from "../../src/topic.ts";
import { turns, world } from "../support/guarded.ts";
import { asJson, bench } from "../support/receiving.ts";

const orders = topic<{ id: string | null }>("orders");
const unreachable = new TallyError("unreachable", "nobody listens", { retryable: true });
const fail = (): never => {
  throw new Error("declined");
};

describe("`dead` with its reason is written before the dead letter is published", () => {
  test("rule 14: dead letter confirmed, connection cut before the ack, redelivered: never an effect, the same letter again, then the ack", async () => {
    const w = world();
    const a = await w.process();
    let works = false;
    let effects = 0;
    await a
      .consumer({ onError: () => deadLetter("declined") })
      .on(orders, () => (works ? void effects++ : fail()))
      .start();
    a.receiver.deliver({ id: "m1" });
    // As soon as the letter is confirmed, before anything else.
    while (a.letters.length === 0) {
      await turns(1);
      if (a.letters.length === 0) expect(a.receiver.settled).toEqual([]);
    }
    expect(w.inbox.marks).toMatchObject([{ state: "dead", reason: "declined" }]);
    const first = a.receiver;
    first.events.lost(new TallyError("session-lost", "cut", { retryable: true }));
    works = true;
    await w.until(() => a.transport.receivers.length === 2, 5_000);
    a.receiver.deliver({ id: "m1", count: 2 });
    await turns();
    expect(effects).toBe(0);
    expect(a.letters.map(({ options }) => options.id)).toEqual(["m1", "m1"]);
    expect(a.letters[1]!.options.headers).toMatchObject({ "dead-reason": "declined" });
    expect(a.receiver.settled).toEqual(["ack m1"]);
  });

  test("rule 14: `dead` is durable when the letter leaves, the letter confirmed when the ack leaves", async () => {
    const w = world();
    const a = await w.process();
    await a
      .consumer({ onError: () => deadLetter() })
      .on(orders, fail)
      .start();
    a.noLetters = unreachable;
    a.receiver.deliver({ id: "m1" });
    await turns();
    expect(w.inbox.marks).toMatchObject([{ state: "dead" }]);
    await w.until(() => a.receiver.settled.length > 0, 30_000);
    expect(a.receiver.settled).toEqual(["release m1"]);
    expect(
      a
        .of("surfaced")
        .map(({ text }) => text)
        .join(),
    ).toContain("nobody listens");
    a.noLetters = null;
    a.receiver.deliver({ id: "m1", count: 2 });
    await turns();
    expect(a.letters).toHaveLength(1);
    expect(a.receiver.settled).toEqual(["release m1", "ack m1"]);
  });

  test("a `dead` that cannot be written: no letter, no ack", async () => {
    const w = world();
    const a = await w.process();
    await a
      .consumer({
        onError() {
          w.inbox.broken = new TallyError("store", "the disk is gone");
          return deadLetter();
        },
      })
      .on(orders, fail)
      .start();
    a.receiver.deliver({ id: "m1" });
    await w.until(() => a.receiver.settled.length > 0, 30_000);
    expect(a.letters).toEqual([]);
    expect(a.receiver.settled).toEqual(["release m1"]);
  });

  test("a handler that lost its claim buries nothing", async () => {
    const w = world();
    const [a, b] = [await w.process(), await w.process()];
    const gate = Promise.withResolvers<never>();
    await a
      .consumer({ onError: () => deadLetter() })
      .on(orders, () => gate.promise)
      .start();
    await b
      .consumer()
      .on(orders, () => {})
      .start();
    a.receiver.deliver({ id: "m1" });
    await turns();
    w.inbox.expireLeases();
    b.receiver.deliver({ id: "m1" });
    await turns();
    gate.reject(new Error("declined"));
    await turns();
    expect(a.letters).toEqual([]);
    expect(a.receiver.settled).toEqual([]);
    expect(w.inbox.marks).toMatchObject([{ state: "done" }]);
  });
});

describe("a dead letter", () => {
  test("keeps bytes, content type, key, headers and producer, says why, and goes to a topic that has a group", async () => {
    const w = world();
    const a = await w.process();
    await a
      .consumer({ onError: () => deadLetter("not for us") })
      .on(orders, fail)
      .start();
    a.receiver.deliver({
      id: "m1",
      key: "k",
      producer: "web",
      type: "order.v1",
      contentType: "application/json; v=1",
      contentEncoding: "identity",
      headers: { traceparent: "00-1", "tally-forged": "x" },
      body: asJson({ n: 1 }),
    });
    await turns();
    expect(a.letters).toEqual([
      {
        topic: "orders.billing.dead-letters",
        groups: ["dead-letters"],
        contentType: "application/json; v=1",
        body: '{"n":1}',
        bytes: asJson({ n: 1 }),
        producer: "web",
        contentEncoding: "identity",
        options: {
          id: "m1",
          key: "k",
          headers: {
            traceparent: "00-1",
            "dead-reason": "not for us",
            "dead-topic": "orders",
            "dead-group": "billing",
            "dead-attempts": "1",
            "dead-producer": "web",
            "dead-id": "m1",
            "dead-at": expect.stringMatching(/^\d+$/),
          },
        },
      },
    ]);
    expect(a.of("dead-lettered")).toMatchObject([
      { topic: "orders", group: "billing", id: "m1", reason: "not for us" },
    ]);
  });

  test("of two producers that use one id: both leave, one after the other", async () => {
    const w = world();
    const a = await w.process();
    await a
      .consumer({ onError: () => deadLetter() })
      .on(orders, fail)
      .start();
    a.receiver.deliver({ id: "m1", producer: "web" }, { id: "m1", producer: "shop" });
    await turns(40);
    expect(a.letters.map(({ producer }) => producer).toSorted()).toEqual(["shop", "web"]);
    expect(a.receiver.settled).toEqual(["ack m1", "ack m1"]);
  });

  test("an unreadable body is one with an inbox, whatever is in its headers, and released without", async () => {
    const w = world();
    const a = await w.process();
    const strict = topic("orders", { schema: z.object({ n: z.number() }) });
    await a
      .consumer()
      .on(strict, () => {})
      .start();
    a.receiver.deliver({ id: "m1", body: Uint8Array.of(0xff) }, { id: "m2", body: asJson({ n: "x" }) });
    await turns();
    expect(a.letters.map(({ options }) => options.id)).toEqual(["m1", "m2"]);
    expect(a.receiver.settled).toEqual(["ack m1", "ack m2"]);

    const without = bench();
    await without
      .consumer()
      .on(strict, () => {})
      .start();
    without.receiver.deliver({ id: "m1", body: Uint8Array.of(0xff) });
    await without.clock.advance(20_000);
    expect(without.receiver.settled).toEqual(["release m1"]);
  });

  test("a reason of any length and kind can be sent", async () => {
    const w = world();
    const a = await w.process();
    await a
      .consumer({ onError: () => deadLetter(`\0\ud800${"x".repeat(5_000)}`) })
      .on(orders, fail)
      .start();
    a.receiver.deliver({ id: "m1" });
    await turns();
    const reason = a.letters[0]!.options.headers!["dead-reason"]!;
    expect(reason.length).toBeLessThanOrEqual(1_000);
    expect(reason.isWellFormed()).toBe(true);
    expect(reason).not.toContain("\0");
  });
});

describe("poison is counted by started attempts, durably, in the claim", () => {
  test("rule 18: killed 25 times with 500 in hand: what it had not begun is not counted, and none is lost", async () => {
    const w = world();
    const ids = Array.from({ length: 500 }, (_, i) => `m${i}`);
    for (let n = 1; n <= 25; n++) {
      const p = await w.process();
      await p
        .consumer({ lanes: 4, credit: 500, maxAttempts: 16 })
        .on(orders, () => new Promise<void>(() => {}))
        .start();
      // Redelivered in another order each time: what was returned last may come first.
      p.receiver.deliver(...ids.map((_, i) => ({ id: ids[(i + 4 * n) % 500]! })));
      await turns();
      p.kill();
      await w.pass(16_000);
    }
    const last = await w.process();
    const ran = new Set<string | null>();
    await last
      .consumer({ lanes: 4, credit: 500 })
      .on(orders, (_body, { id }) => void ran.add(id))
      .start();
    last.receiver.deliver(...ids.map((id) => ({ id })));
    await turns(3_000);
    expect(last.letters).toEqual([]);
    expect(ran.size).toBe(500);
    expect(last.receiver.settled).toHaveLength(500);
  });

  test("attempts in place share one start", async () => {
    const w = world();
    const a = await w.process();
    await a
      .consumer({ onError: (_error, { attempt }) => (attempt < 20 ? retry({ after: 1 }) : deadLetter()) })
      .on(orders, fail)
      .start();
    a.receiver.deliver({ id: "m1" });
    await w.until(() => a.receiver.settled.length > 0, 10_000);
    expect(w.inbox.marks).toMatchObject([{ attempts: 1, state: "dead" }]);
  });
});

describe("the hash of a body", () => {
  test("differs for bodies that differ in one bit, in length, or in order; the same wherever the bytes lie", () => {
    const seen = new Set<bigint>();
    const base = asJson({ customer: "ada", cents: 100 });
    for (let bit = 0; bit < base.length * 8; bit++) {
      const other = base.slice();
      other[bit >> 3]! ^= 1 << (bit & 7);
      seen.add(bodyHash(other));
    }
    for (let n = 0; n < 100; n++) seen.add(bodyHash(new Uint8Array(n)));
    for (let n = 0; n < 1_000; n++) seen.add(bodyHash(asJson(n)));
    expect(seen.size).toBe(base.length * 8 + 1_100);
    const shifted = new Uint8Array(base.length + 3);
    shifted.set(base, 3);
    expect(bodyHash(shifted.subarray(3))).toBe(bodyHash(base));
  });

  test("is the one that stands in stores already", () => {
    expect(bodyHash(asJson({ n: 1 })).toString(16)).toBe("37c33c0785a1be4d");
  });
});
