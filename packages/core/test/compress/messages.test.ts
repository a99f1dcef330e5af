// One thing: a compressed message on each of its ways.
import { randomBytes } from "node:crypto";
import * as zlib from "node:zlib";
import { memory, memoryInbox, memoryOutbox, type MemoryBroker } from "@tallymq/testkit";
import { describe, expect, test } from "vitest";
import {
  type Consumer,
  deadLetter,
  openTally,
  type Tally,
  type TallyEvent,
  topic,
  type Topic,
  type TopicOptions,
} from "../../src/index.ts";
import { compressed, largestGiven } from "../../src/compress/compress.ts";
import { inflated } from "../../src/compress/inflate.ts";
import type { Draft } from "../../src/message.ts";
import { turns, world } from "../support/guarded.ts";
import { bench } from "../support/receiving.ts";
import { thrownBy } from "../support/refused.ts";

interface Order {
  readonly n: number;
  readonly lines: string;
}

const SMALL: Order = { n: 1, lines: "x" };
const MEDIUM: Order = { n: 2, lines: "line ".repeat(1_000) };
const LARGE: Order = { n: 3, lines: "line ".repeat(40_000) };

function orders(given: { readonly [K in keyof TopicOptions<Order>]?: unknown } = {}): Topic<Order> {
  return topic<Order>("orders", { groups: ["billing"], compress: "gzip", ...given } as TopicOptions<Order>);
}

/** What lies in the group's queue, as it would travel: content-encoding and bytes. */
function queued(
  broker: MemoryBroker,
  group = "billing",
  of = "orders",
): readonly { encoding: string | null; bytes: number }[] {
  return broker
    .messages(of, group)
    .map(({ message }) => ({ encoding: message.contentEncoding, bytes: message.body.length }));
}

describe("publish() with compress", () => {
  for (const compress of ["gzip", "zstd"] as const)
    test(`${compress}: bodies from compressFrom on travel compressed, and handlers get them as they were`, async () => {
      const broker = memory();
      await using tally = await openTally({ service: "shop", broker });
      const of = orders({ compress });
      for (const order of [SMALL, MEDIUM, LARGE]) await tally.publish(of, order);
      const [small, medium, large] = queued(broker);
      expect(small).toEqual({ encoding: null, bytes: JSON.stringify(SMALL).length });
      expect([medium!.encoding, large!.encoding]).toEqual([compress, compress]);
      expect(large!.bytes).toBeLessThan(2_000);
      const seen: Order[] = [];
      await using _billing = await tally
        .consumer("billing")
        .on(of, (order) => void seen.push(order))
        .start();
      await expect.poll(() => seen).toEqual([SMALL, MEDIUM, LARGE]);
    });

  test("what does not get smaller goes as it is", async () => {
    const broker = memory();
    await using tally = await openTally({ service: "shop", broker });
    await tally.publish(orders({ compressFrom: 0 }), { n: 7, lines: "" });
    expect(queued(broker)).toEqual([{ encoding: null, bytes: '{"n":7,"lines":""}'.length }]);
  });

  test("a key keeps its order, also when a large body is compressed off the loop and a small one is not", async () => {
    const broker = memory();
    await using tally = await openTally({ service: "shop", broker });
    const of = orders({ key: () => "k", ordered: true });
    await Promise.all([LARGE, SMALL, MEDIUM].map((order) => tally.publish(of, order)));
    const seen: number[] = [];
    await using _billing = await tally
      .consumer("billing")
      .on(of, ({ n }) => void seen.push(n))
      .start();
    await expect.poll(() => seen).toEqual([3, 1, 2]);
  });

  test("a body may be larger than the broker takes if what is sent of it is not; otherwise it is too large, and nothing is sent", async () => {
    const traits = { maxBytes: 20_000 };
    const of = orders({ maxInflatedBytes: 1_000_000 });
    expect([largestGiven(of, traits), largestGiven(orders({ compress: undefined }), traits)]).toEqual([
      1_000_000, 20_000,
    ]);
    const broker = memory();
    await using tally = await openTally({ service: "shop", broker });
    const small = orders({ maxBytes: 10_000, maxInflatedBytes: 1_000_000 });
    await tally.publish(small, LARGE);
    for (const size of [11_000, 200_000]) {
      const error = await thrownBy(() => tally.publish(small, { n: 4, lines: randomBytes(size).toString("base64") }));
      expect([error.code, error.mayArrive]).toEqual(["too-large", false]);
    }
    expect((await thrownBy(() => tally.publish(small, { n: 5, lines: "x".repeat(1_000_000) }))).code).toBe("too-large");
    expect(queued(broker)).toHaveLength(1);
  });

  test("small bodies are compressed and inflated at once, large ones off the loop", async () => {
    for (const compress of ["gzip", "zstd"] as const) {
      const of = orders({ compress });
      const draft = (size: number) =>
        ({ id: "m", contentEncoding: null, body: Buffer.alloc(size, "line ") }) as never as Draft;
      const [small, large] = [draft(16_384), draft(16_385)];
      expect(compressed(small, of, { maxBytes: 1_000_000 })).toBeNull();
      expect(small.contentEncoding).toBe(compress);
      const later = compressed(large, of, { maxBytes: 1_000_000 });
      expect([large.contentEncoding, later]).toEqual([null, expect.any(Promise)]);
      await later;
      expect(large.contentEncoding).toBe(compress);
      expect(inflated(of, small)).toHaveLength(16_384);
      // Few bytes can be many: what gives more than 64 KiB is begun anew off the loop.
      const many = draft(65_537);
      await compressed(many, of, { maxBytes: 1_000_000 });
      expect(inflated(of, many)).toBeInstanceOf(Promise);
      expect(await inflated(of, many)).toHaveLength(65_537);
    }
  });

  test("the same id twice at once: one message; with another body a conflict, while it is being compressed too", async () => {
    const broker = memory();
    await using tally = await openTally({ service: "shop", broker });
    for (const order of [MEDIUM, LARGE]) {
      const id = `o-${order.n}`;
      const first = tally.publish(orders(), order, { id });
      const second = tally.publish(orders(), { ...order }, { id });
      const error = await thrownBy(() => tally.publish(orders(), { ...order, n: 9 }, { id }));
      expect(error.code).toBe("conflict");
      expect(await second).toEqual(await first);
    }
    expect(queued(broker)).toHaveLength(2);
  });

  test("the same id again when the first call's body has been compressed: it joins", async () => {
    const broker = memory();
    const events: TallyEvent[] = [];
    await using tally = await openTally({ service: "shop", broker, onEvent: (event) => void events.push(event) });
    await tally.publish(orders(), SMALL);
    broker.faults.block();
    const first = tally.publish(orders(), LARGE, { id: "o-3" });
    // The pool has done it when it has done as much again.
    await compressed({ id: "m", contentEncoding: null, body: Buffer.alloc(1_000_000, "line ") } as never, orders(), {
      maxBytes: 1_000_000,
    });
    const second = tally.publish(orders(), LARGE, { id: "o-3" });
    expect((await thrownBy(() => tally.publish(orders(), { ...LARGE, n: 4 }, { id: "o-3" }))).code).toBe("conflict");
    broker.faults.unblock();
    expect(await second).toEqual(await first);
    expect(events.filter(({ type }) => type === "joined")).toHaveLength(1);
  });

  test.each([
    ["compress", { compress: "lzma" }],
    ["compressFrom", { compressFrom: -1 }],
    ["maxInflatedBytes", { maxInflatedBytes: 0 }],
  ])("%s out of its bounds is refused", async (name, given) => {
    const error = await thrownBy(() => orders(given));
    expect([error.code, error.message]).toEqual(["bad-config", expect.stringContaining(name)]);
  });
});

describe("a compressed message stays as it is", () => {
  test("in the outbox, and from there to the broker", async () => {
    const broker = memory();
    const outbox = memoryOutbox();
    const of = orders({ outbox: "always" });
    await using tally = await openTally({ service: "shop", broker, outbox });
    broker.faults.block();
    await Promise.all([MEDIUM, LARGE].map((order) => tally.publish(of, order)));
    expect(outbox.rows.map(({ message }) => message.contentEncoding)).toEqual(["gzip", "gzip"]);
    broker.faults.unblock();
    await expect.poll(() => outbox.rows.length).toBe(0);
    expect(queued(broker).map(({ encoding }) => encoding)).toEqual(["gzip", "gzip"]);
    const seen: Order[] = [];
    await using _billing = await tally
      .consumer("billing")
      .on(of, (order) => void seen.push(order))
      .start();
    await expect.poll(() => seen).toHaveLength(2);
    expect(seen).toEqual(expect.arrayContaining([MEDIUM, LARGE]));
  });

  test("as a dead letter, which is read, and replayed", async () => {
    const { broker, tally, seen, billing } = await failing(() => deadLetter("declined"));
    const name = "orders.billing.dead-letters";
    const dead = (): readonly unknown[] => queued(broker, "dead-letters", name).map((m) => m.encoding);
    broker.declare({ name, ordered: false, groups: ["dead-letters"] });
    // The last one was published before the topic compressed.
    const plain = { ...MEDIUM, n: 4 };
    for (const [n, publishing] of [
      () => tally.publish(orders(), MEDIUM, { id: "o-2" }),
      () => tally.publish(orders(), LARGE, { id: "o-3" }),
      () => tally.publish(orders({ compress: undefined }), plain, { id: "o-4" }),
    ].entries()) {
      await publishing();
      await expect.poll(() => dead().length).toBe(n + 1);
    }
    expect(dead()).toEqual(["gzip", "gzip", null]);
    const letters = tally.deadLetters(orders(), "billing");
    expect((await letters.list()).map((letter) => letter.decode())).toEqual([MEDIUM, LARGE, plain]);
    await billing.close();
    await letters.replay();
    expect(queued(broker).map(({ encoding }) => encoding)).toEqual(["gzip", "gzip", null]);
    await using _again = await tally
      .consumer("billing")
      .on(orders(), (order) => void seen.push(order))
      .start();
    await expect.poll(() => seen).toHaveLength(3);
    expect(seen).toEqual(expect.arrayContaining([MEDIUM, LARGE, plain]));
  });

  test("as a delayed copy", async () => {
    const { tally, seen, events } = await failing();
    const left = new Promise<void>((resolve) => tally.on((event) => void (event.type === "delayed" && resolve())));
    await tally.publish(orders(), LARGE, { id: "o-3" });
    await left;
    events.willing = true;
    await expect.poll(() => seen).toEqual([LARGE]);
  });

  test("of a parked key, which is replayed", async () => {
    const of = orders({ key: () => "k", ordered: true });
    const { tally, seen, events } = await failing(undefined, of);
    for (const order of [LARGE, MEDIUM]) await tally.publish(of, order, { id: `o-${order.n}` });
    await expect.poll(async () => (await tally.parked.keys.list()).map((key) => key.messages)).toEqual([2]);
    events.willing = true;
    await tally.parked.keys.replay({ group: "billing", topic: "orders", key: "k" });
    expect(seen).toEqual([LARGE, MEDIUM]);
  });
});

describe("the inbox", () => {
  test("the same id and body, compressed otherwise, is a duplicate; another body is a conflict", async () => {
    const w = world();
    const a = await w.process();
    const effects: number[] = [];
    await a
      .consumer()
      .on(topic<Order>("orders"), ({ n }) => void effects.push(n))
      .start();
    const plain = JSON.stringify(MEDIUM);
    const deliver = async (body: Uint8Array): Promise<void> => {
      a.receiver.deliver({ id: "o-1", body, contentEncoding: "gzip" });
      await turns();
    };
    await deliver(zlib.gzipSync(plain, { level: 9 }));
    await deliver(zlib.gzipSync(plain, { level: 1 }));
    expect([effects, a.of("duplicate").length]).toEqual([[2], 1]);
    await deliver(zlib.gzipSync(JSON.stringify({ ...MEDIUM, n: 5 })));
    expect([effects, a.of("conflict").length]).toEqual([[2], 1]);
    expect(a.letters).toMatchObject([{ contentEncoding: "gzip" }]);
  });
});

describe("what cannot be read", () => {
  test("twenty bombs at the start pause the subscription, as any wrong bodies do", async () => {
    const b = bench();
    await b
      .consumer()
      .on(topic("orders", { maxInflatedBytes: 100_000 }), () => {})
      .start();
    const body = zlib.gzipSync(Buffer.alloc(1_000_000));
    b.receiver.deliver(...Array.from({ length: 20 }, (_, n) => ({ id: `m${n}`, body, contentEncoding: "gzip" })));
    await expect.poll(() => b.of("subscription-paused").length).toBe(1);
  });

  test("memory: a topic that compresses counts what its lanes may inflate", async () => {
    const broker = memory();
    const events: TallyEvent[] = [];
    await using tally = await openTally({ service: "shop", broker, onEvent: (event) => void events.push(event) });
    await using _billing = await tally
      .consumer("billing", { lanes: 4 })
      .on(orders({ maxInflatedBytes: 5_000 }), () => {})
      .start();
    const parts = events.flatMap((event) => (event.type === "memory-bound" ? event.parts : []));
    expect(parts).toContainEqual({ what: "orders / billing, inflated: 4 × 5000 bytes =", bytes: 20_000 });
  });
});

/** A consumer that fails everything until it is `willing`. */
async function failing(
  onError?: () => unknown,
  of: Topic<Order> = orders(),
): Promise<{
  readonly broker: MemoryBroker;
  readonly tally: Tally;
  readonly seen: Order[];
  readonly events: { willing: boolean };
  readonly billing: Consumer;
}> {
  const broker = memory();
  const tally = await openTally({ service: "shop", broker, inbox: memoryInbox() });
  const seen: Order[] = [];
  const events = { willing: false };
  const billing = await tally
    .consumer("billing", {
      attempts: 1,
      retryMin: "1ms",
      retryMax: "2ms",
      ...(onError === undefined ? {} : { onError: onError as never }),
    })
    .on(of, (order) => {
      if (!events.willing) throw new Error("not now");
      seen.push(order);
    })
    .start();
  return { broker, tally, seen, events, billing };
}
