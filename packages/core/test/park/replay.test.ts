// Replays of one parked key: in order, by claims, whatever is killed or arrives meanwhile.
import { type MemoryInbox, memoryInbox, type MemoryTx } from "@tallymq/testkit";
import { afterEach, describe, expect, test } from "vitest";
import type { TxContext } from "../../src/consume/options.ts";
import { deadLetter } from "../../src/consume/rulings.ts";
import type { Events } from "../../src/events.ts";
import { armFailpoints, type Failpoint } from "../../src/failpoints.ts";
import { KeysOfInbox } from "../../src/park/keys.ts";
import { Replays } from "../../src/park/replays.ts";
import { Runners } from "../../src/park/runners.ts";
import { topic } from "../../src/topic.ts";
import { type GuardedBench, turns, type World, world } from "../support/guarded.ts";

interface Order {
  readonly id: string | null;
}
const orders = topic<Order>("orders", { key: () => "", ordered: true });
const K = { group: "billing", topic: "orders", key: "k" };

afterEach(() => armFailpoints(null));

interface Handling {
  /** Ids whose handler throws. */
  readonly bad: Set<string>;
  /** What the handlers were called with. */
  readonly ran: string[];
  /** What a handler of this id waits for. */
  readonly gates: Map<string, Promise<unknown>>;
}

/** A process with a consumer whose effects are counted in the inbox's transactions. */
async function member(
  w: World,
  options: Record<string, unknown> = {},
): Promise<{ readonly process: GuardedBench; readonly handling: Handling; close(): Promise<void> }> {
  const process = await w.process();
  const handling: Handling = { bad: new Set(), ran: [], gates: new Map() };
  const builder = process.consumer({
    effect: "tx",
    attempts: 1,
    retryMin: 1,
    retryMax: 10,
    ...options,
  }) as never as {
    on(
      of: typeof orders,
      handler: (body: Order, context: TxContext<MemoryTx>) => Promise<void>,
    ): { start(): Promise<{ close(): Promise<void> }> };
  };
  const consumer = await builder
    .on(orders, async ({ id }, { tx }) => {
      handling.ran.push(id!);
      tx.set("order", [...((tx.get("order") as string[] | undefined) ?? []), id]);
      await handling.gates.get(id!);
      if (handling.bad.has(id!)) throw new Error(`${id} declined`);
    })
    .start();
  return { process, handling, close: () => consumer.close() };
}

/** Effects, in the order of their commits. */
const effects = (inbox: MemoryInbox): string[] => (inbox.rows.get("order") as string[] | undefined) ?? [];
const left = (inbox: MemoryInbox): string[] => inbox.parked.map(({ message }) => message.id);

/** Messages m1 to m<count> of key k, all parked. */
async function parkedKey(w: World, one: Awaited<ReturnType<typeof member>>, count: number): Promise<void> {
  one.handling.bad.add("m1");
  const before = one.process.receiver.settled.length;
  one.process.receiver.deliver(...Array.from({ length: count }, (_, n) => ({ id: `m${n + 1}`, key: "k" })));
  await w.until(() => one.process.receiver.settled.length === before + count, 10_000);
  one.handling.bad.clear();
  one.handling.ran.length = 0;
}

/** A replay that the test does not wait for yet: its outcome. */
function outcome(replay: Promise<number>): { readonly value: Promise<unknown> } {
  return { value: replay.catch((error: unknown) => error) };
}

describe("a replay", () => {
  test("of a key whose messages the store cannot read says so, not that they ran: the key stays parked", async () => {
    const w = world();
    const store = await w.inbox.openInbox({ clock: w.clock, random: {} as never, surfaced: () => {} });
    const unpark = (): never => expect.fail("nothing was read");
    const damaged = { ...store, parkedMessages: async () => [], parkedKeys: async () => new Set(["k"]), unpark };
    const replays = new Replays(damaged, { emit: unpark } as unknown as Events, new Runners());
    await expect(replays.replay(K)).rejects.toMatchObject({
      code: "store",
      message: '[store] orders / billing: key "k" stays parked: the store cannot read what is left of it',
    });
  });

  test("rule 16: a replay runs the messages in order, each with its effect and mark, removes each, and then the key is free", async () => {
    const w = world();
    const one = await member(w);
    await parkedKey(w, one, 4);
    const replay = outcome(one.process.parked.keys.replay(K));
    await w.until(() => w.inbox.parked.length === 0, 5_000);
    expect(await replay.value).toBe(4);
    expect(effects(w.inbox)).toEqual(["m1", "m2", "m3", "m4"]);
    expect(w.inbox.marks.filter(({ state }) => state === "done")).toHaveLength(4);
    expect(one.process.of("key-replayed")).toMatchObject([{ ...K, messages: 4 }]);
    one.process.receiver.deliver({ id: "m5", key: "k" }, { id: "m2", key: "k", count: 2 });
    await turns();
    expect(one.handling.ran).toEqual(["m1", "m2", "m3", "m4", "m5"]);
    expect(await one.process.parked.keys.replay(K)).toBe(0);
  });

  test("lets what arrives meanwhile go behind: the order holds", async () => {
    const w = world();
    const one = await member(w);
    await parkedKey(w, one, 2);
    const gate = Promise.withResolvers<void>();
    one.handling.gates.set("m2", gate.promise);
    const replay = outcome(one.process.parked.keys.replay(K));
    await w.until(() => one.handling.ran.includes("m2"), 5_000);
    one.process.receiver.deliver({ id: "m3", key: "k" }, { id: "x1", key: "x" }, { id: "m4", key: "k" });
    await w.until(() => one.process.of("parked-behind").length === 3, 5_000);
    gate.resolve();
    await w.until(() => w.inbox.parked.length === 0, 5_000);
    expect(await replay.value).toBe(4);
    expect(effects(w.inbox).filter((id) => id !== "x1")).toEqual(["m1", "m2", "m3", "m4"]);
  });

  test("stops where a message fails again: the key stays parked from there, and the error names it", async () => {
    const w = world();
    const one = await member(w, { attempts: 2 });
    await parkedKey(w, one, 4);
    one.handling.bad.add("m3");
    const replay = outcome(one.process.parked.keys.replay(K));
    await w.until(() => one.process.of("replay-stopped").length === 1, 5_000);
    expect(await replay.value).toMatchObject({
      code: "handler",
      id: "m3",
      message: expect.stringMatching(/m3.*declined/),
    });
    expect(one.handling.ran).toEqual(["m1", "m2", "m3", "m3"]);
    expect(effects(w.inbox)).toEqual(["m1", "m2"]);
    expect(left(w.inbox)).toEqual(["m3", "m4"]);
    one.process.receiver.deliver({ id: "m5", key: "k" });
    await turns();
    expect(left(w.inbox)).toEqual(["m3", "m4", "m5"]);
    // At once: its claim was given back.
    one.handling.bad.clear();
    const again = outcome(one.process.parked.keys.replay(K));
    await turns(60);
    expect(await again.value).toBe(3);
    expect(effects(w.inbox)).toEqual(["m1", "m2", "m3", "m4", "m5"]);
  });

  test("goes on past a message that onError gives up", async () => {
    const w = world();
    const one = await member(w, {
      onError: (_: unknown, { id }: { id: string }) =>
        id === "m2" ? deadLetter("no") : { kind: "park", reason: null },
    });
    await parkedKey(w, one, 3);
    one.handling.bad.add("m2");
    const replay = outcome(one.process.parked.keys.replay(K));
    await w.until(() => w.inbox.parked.length === 0, 5_000);
    expect(await replay.value).toBe(3);
    expect(effects(w.inbox)).toEqual(["m1", "m3"]);
    expect(one.process.letters.map(({ options }) => options.id)).toEqual(["m2"]);
  });

  test("counts starts, but is not stopped by `maxAttempts`: a person asked for it", async () => {
    const w = world();
    const one = await member(w, { maxAttempts: 2 });
    await parkedKey(w, one, 1);
    one.handling.bad.add("m1");
    for (let times = 0; times < 3; times++) {
      const replay = outcome(one.process.parked.keys.replay(K));
      await turns(40);
      expect(await replay.value).toMatchObject({ code: "handler" });
    }
    one.handling.bad.clear();
    const replay = outcome(one.process.parked.keys.replay(K));
    await turns(40);
    expect(await replay.value).toBe(1);
    expect(w.inbox.marks[0]!.attempts).toBe(5);
  });

  test.each<Failpoint>(["inbox.claimed", "inbox.in-effect", "inbox.committed", "park.ran", "park.removed"])(
    "killed at %s of its second message: the next replay, elsewhere, loses and doubles nothing",
    async (point) => {
      const w = world();
      const one = await member(w, { lease: "2s" });
      await parkedKey(w, one, 4);
      let passed = 0;
      let dead = false;
      armFailpoints((at) => {
        if (at !== point || ++passed !== 2) return;
        dead = true;
        one.process.kill();
      });
      void one.process.parked.keys.replay(K).catch(() => {});
      for (let n = 0; n < 100 && !dead; n++) await turns(1);
      armFailpoints(null);
      expect(dead).toBe(true);
      const two = await member(w, { lease: "2s" });
      two.process.receiver.deliver({ id: "m5", key: "k" });
      await turns();
      const replay = outcome(two.process.parked.keys.replay(K));
      await w.until(() => w.inbox.parked.length === 0, 20_000);
      await replay.value;
      await turns();
      expect(effects(w.inbox)).toEqual(["m1", "m2", "m3", "m4", "m5"]);
    },
  );

  test("in two processes at once: each message has one effect, in order", async () => {
    const w = world();
    const [one, two] = [await member(w, { lease: "1s" }), await member(w, { lease: "1s" })];
    await parkedKey(w, one, 6);
    const replays = [outcome(one.process.parked.keys.replay(K)), outcome(two.process.parked.keys.replay(K))];
    await w.until(() => w.inbox.parked.length === 0, 60_000);
    await w.pass(5_000);
    for (const { value } of replays) expect(await value).toEqual(expect.any(Number));
    expect(effects(w.inbox)).toEqual(["m1", "m2", "m3", "m4", "m5", "m6"]);
  });

  test("of a process that stood still for longer than its lease is fenced, and the order holds", async () => {
    const w = world();
    const [one, two] = [await member(w), await member(w)];
    await parkedKey(w, one, 3);
    const gate = Promise.withResolvers<void>();
    one.handling.gates.set("m1", gate.promise);
    const still = outcome(one.process.parked.keys.replay(K));
    await w.until(() => one.handling.ran.includes("m1"), 5_000);
    w.inbox.expireLeases();
    const replay = outcome(two.process.parked.keys.replay(K));
    await turns(4);
    // memoryInbox's transactions take turns: the second one runs when the first has been refused.
    gate.resolve();
    await w.until(() => w.inbox.parked.length === 0, 20_000);
    expect(await still.value).toMatchObject({ code: "fenced", id: "m1" });
    expect(await replay.value).toBe(3);
    expect(effects(w.inbox)).toEqual(["m1", "m2", "m3"]);
  });

  test("twice in one process is one", async () => {
    const w = world();
    const one = await member(w);
    await parkedKey(w, one, 3);
    const both = [outcome(one.process.parked.keys.replay(K)), outcome(one.process.parked.keys.replay(K))];
    await w.until(() => w.inbox.parked.length === 0, 5_000);
    expect(await Promise.all(both.map(({ value }) => value))).toEqual([3, 3]);
    expect(one.process.of("key-replayed")).toHaveLength(1);
  });

  test("needs a started consumer of that group and topic with an inbox, and says so", async () => {
    const w = world();
    const one = await member(w);
    await parkedKey(w, one, 1);
    const two = await w.process();
    await expect(two.parked.keys.replay(K)).rejects.toMatchObject({
      code: "unsupported",
      message: expect.stringMatching(/started consumer/),
    });
    await two
      .consumer({ effect: "none" })
      .on(orders, () => {})
      .start();
    await expect(two.parked.keys.replay(K)).rejects.toMatchObject({ code: "unsupported" });
    expect(left(w.inbox)).toEqual(["m1"]);
  });

  test("ends with `closed` when its consumer closes: the message that runs is let finish", async () => {
    const w = world();
    const one = await member(w);
    await parkedKey(w, one, 3);
    const gate = Promise.withResolvers<void>();
    one.handling.gates.set("m1", gate.promise);
    const replay = outcome(one.process.parked.keys.replay(K));
    await w.until(() => one.handling.ran.includes("m1"), 5_000);
    const closed = one.close();
    await turns();
    gate.resolve();
    await w.pass(2_000);
    await closed;
    expect(await replay.value).toMatchObject({ code: "closed" });
    expect(effects(w.inbox)).toEqual(["m1"]);
    expect(left(w.inbox)).toEqual(["m2", "m3"]);
  });

  test("ends with `closed` too when that message never ends: at the limit of the close", async () => {
    const w = world();
    const one = await member(w);
    await parkedKey(w, one, 2);
    one.handling.gates.set("m1", new Promise(() => {}));
    const replay = outcome(one.process.parked.keys.replay(K));
    await w.until(() => one.handling.ran.includes("m1"), 5_000);
    const closed = one.close();
    await w.pass(31_000);
    await closed;
    expect(await Promise.race([replay.value, turns().then(() => "still waits")])).toMatchObject({ code: "closed" });
    expect(left(w.inbox)).toEqual(["m1", "m2"]);
  });

  test("stops where a message fails again, also where nothing can be parked any more since a member has another inbox", async () => {
    const w = world();
    const one = await member(w);
    await parkedKey(w, one, 2);
    await one.close();
    const two = await w.process({}, JSON.stringify({ inbox: "another", consumer: "stranger" }));
    await two
      .consumer({ attempts: 1 })
      .on(orders, () => {
        throw new Error("declined");
      })
      .start();
    expect(two.of("inbox-differs")).toHaveLength(1);
    const replay = outcome(two.parked.keys.replay(K));
    await w.pass(60_000);
    expect(await Promise.race([replay.value, turns().then(() => "still waits")])).toMatchObject({
      code: "handler",
      id: "m1",
    });
    expect(left(w.inbox)).toEqual(["m1", "m2"]);
  });

  test("gives the handler what the delivery had", async () => {
    const w = world();
    const process = await w.process();
    const seen: unknown[] = [];
    let fails = true;
    await process
      .consumer({ attempts: 1, id: ({ headers }) => headers["own"]! })
      .on(orders, (body, { id, producer, type, time, headers, key, correlationId, causationId }) => {
        if (fails) throw new Error("no");
        seen.push({
          body,
          id,
          producer,
          type,
          time,
          headers: Object.assign({}, headers),
          key,
          correlationId,
          causationId,
        });
      })
      .start();
    const own = { id: "m1", producer: "shop", type: "order", time: 17, correlationId: "c", causationId: "a" };
    process.receiver.deliver(
      { ...own, key: "k", headers: { trace: "t" } },
      { id: null, producer: null, contentType: null, key: "k", headers: { own: "f1" } },
    );
    await w.until(() => w.inbox.parked.length === 2, 5_000);
    fails = false;
    const replay = outcome(process.parked.keys.replay(K));
    await w.until(() => seen.length === 2, 5_000);
    expect(await replay.value).toBe(2);
    const none = { producer: null, type: null, time: null, correlationId: null, causationId: null };
    expect(seen).toEqual([
      { ...own, body: { id: "m1" }, key: "k", headers: { trace: "t" } },
      { ...none, id: "f1", body: { id: null }, key: "k", headers: { own: "f1" } },
    ]);
  });
});

describe("a purge", () => {
  test("ends with the messages that were there when it began, though as many come as it removes", async () => {
    const w = world();
    const one = await member(w);
    await parkedKey(w, one, 3);
    const store = await w.inbox.openInbox({ clock: w.clock, random: {} as never, surfaced: () => {} });
    let removed = 0;
    const filling = {
      ...store,
      async unpark(place: number): Promise<boolean> {
        if (++removed > 3) expect.fail("it was not there");
        const [first] = await store.parkedMessages(K.group, K.topic, K.key, 1);
        await store.park({ ...K, message: { ...first!.message, id: `later-${removed}` }, reason: "behind" }, null);
        return await store.unpark(place);
      },
    };
    const events = { emit: () => {} } as unknown as Events;
    expect(await new KeysOfInbox(filling, events, new Runners()).purge(K)).toBe(3);
    expect(left(w.inbox)).toEqual(["later-1", "later-2", "later-3"]);
  });

  test("of a key removes its messages and frees it; a redelivery is acked without running", async () => {
    const w = world();
    const one = await member(w);
    await parkedKey(w, one, 3);
    expect(await one.process.parked.keys.purge(K)).toBe(3);
    expect(one.process.of("key-purged")).toMatchObject([{ ...K, messages: 3 }]);
    one.process.receiver.deliver({ id: "m2", key: "k", count: 2 }, { id: "m4", key: "k" });
    await turns();
    expect(one.process.receiver.settled.slice(3)).toEqual(["ack m2", "ack m4"]);
    expect(one.handling.ran).toEqual(["m4"]);
    expect(one.process.letters).toEqual([]);
    expect(await one.process.parked.keys.purge(K)).toBe(0);
  });

  test("of one message leaves the rest parked, in order", async () => {
    const w = world();
    const one = await member(w);
    await parkedKey(w, one, 3);
    const [head] = await one.process.parked.keys.messages(K);
    expect(await one.process.parked.keys.purge({ ...K, place: head!.place })).toBe(1);
    expect(await one.process.parked.keys.purge({ ...K, place: head!.place })).toBe(0);
    expect(left(w.inbox)).toEqual(["m2", "m3"]);
    one.process.receiver.deliver({ id: "m4", key: "k" });
    await turns();
    const replay = outcome(one.process.parked.keys.replay(K));
    await w.until(() => w.inbox.parked.length === 0, 5_000);
    expect(await replay.value).toBe(3);
    expect(effects(w.inbox)).toEqual(["m2", "m3", "m4"]);
  });

  test("of what a replay is running is refused, and changes nothing", async () => {
    const w = world();
    const one = await member(w);
    await parkedKey(w, one, 2);
    const gate = Promise.withResolvers<void>();
    one.handling.gates.set("m1", gate.promise);
    const replay = outcome(one.process.parked.keys.replay(K));
    await w.until(() => one.handling.ran.includes("m1"), 5_000);
    await expect(one.process.parked.keys.purge(K)).rejects.toMatchObject({ code: "fenced", id: "m1", retryable: true });
    gate.resolve();
    await w.until(() => w.inbox.parked.length === 0, 5_000);
    expect(await replay.value).toBe(2);
    expect(effects(w.inbox)).toEqual(["m1", "m2"]);
  });
});

describe("a person's look", () => {
  test("lists keys by group and topic, and messages whole, decoded where asked", async () => {
    const w = world(memoryInbox());
    const one = await member(w);
    await parkedKey(w, one, 2);
    one.process.receiver.deliver({ id: "b1", key: "b", body: new TextEncoder().encode("{") });
    await turns();
    const { keys } = one.process.parked;
    expect(await keys.list()).toMatchObject([
      { ...K, messages: 2, reason: expect.stringMatching(/m1 declined/) },
      { ...K, key: "b", messages: 1 },
    ]);
    expect(await keys.list({ group: "mail" })).toEqual([]);
    expect(await keys.list({ topic: "orders", most: 1 })).toHaveLength(1);
    const [first] = await keys.messages(K);
    expect(first).toMatchObject({ id: "m1", producer: "shop", contentType: "application/json", decoded: undefined });
    expect(new TextDecoder().decode(first!.body)).toBe('{"id":"m1"}');
    const decoded = await keys.messages({ ...K, decode: orders, most: 1 });
    expect(decoded.map((each) => each.decoded)).toEqual([{ id: "m1" }]);
    const [broken] = await keys.messages({ ...K, key: "b", decode: orders });
    expect(broken!.decoded).toMatchObject({ code: "decode" });
    // What is listed may be given back as it is.
    const [listed] = await keys.list();
    expect(await keys.purge(listed!)).toBe(2);
  });

  test("refuses what names no key", async () => {
    const w = world();
    const one = await member(w);
    const { keys } = one.process.parked;
    for (const given of [undefined, {}, { ...K, key: 7 }, { group: "billing", topic: "orders" }])
      for (const call of ["messages", "replay", "purge"] as const)
        await expect(keys[call](given as never)).rejects.toMatchObject({ code: "bad-config" });
    await expect(keys.list({ grop: "x" } as never)).rejects.toMatchObject({ code: "bad-config" });
    await expect(keys.messages({ ...K, most: 0 })).rejects.toMatchObject({ code: "bad-config" });
    await expect(keys.purge({ ...K, place: -1 })).rejects.toMatchObject({ code: "bad-config" });
    await expect(keys.messages({ ...K, decode: {} as never })).rejects.toMatchObject({ code: "bad-config" });
  });
});
