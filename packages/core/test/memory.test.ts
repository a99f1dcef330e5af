// Rule 22: what is held of messages is bounded by a sum over the options.
import { memory, memoryInbox, memoryOutbox } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { bytes, openTally, type Tally, TallyError, type TallyEvent, type TallyOptions, topic } from "../src/index.ts";
import { creditFor, largestOf } from "../src/memory.ts";
import type { Broker } from "../src/spi.ts";

const MIB = 1024 ** 2;
const blobs = topic<Uint8Array>("blobs", { codec: bytes, groups: ["g"] });
const small = topic<Uint8Array>("small", { codec: bytes, groups: ["g"], maxBytes: 1_000 });

async function open(
  options: Partial<TallyOptions> = {},
): Promise<{ tally: Tally; sums: number[]; events: TallyEvent[] }> {
  const events: TallyEvent[] = [];
  const tally = await openTally({ service: "shop", broker: memory(), onEvent: (e) => events.push(e), ...options });
  return {
    tally,
    events,
    get sums() {
      return events.flatMap((e) => (e.type === "memory-bound" ? [e.bytes] : []));
    },
  };
}

describe("the default credit", () => {
  it("is what 256 MiB hold of the largest body, at least twice the lanes and 32, at most 100 or four times the lanes", () => {
    const table = [
      [16, 16 * MIB],
      [64, 16 * MIB],
      [1, 16 * MIB],
      [16, 8 * MIB],
      [16, 4 * MIB],
      [16, MIB],
      [64, MIB],
    ] as const;
    expect(table.map(([lanes, largest]) => creditFor(lanes, largest))).toEqual([32, 128, 32, 32, 64, 100, 256]);
  });

  it("looks at the topic's largest body, or at the broker's", () => {
    expect(largestOf(small, { maxBytes: MIB })).toBe(1_000);
    expect(largestOf(small, { maxBytes: 10 })).toBe(10);
    expect(largestOf(blobs, { maxBytes: MIB })).toBe(MIB);
  });
});

describe("the sum", () => {
  it("rule 22: the sum is said at start, and with each consumer: window, stores, credit times largest body", async () => {
    const o = await open({ outbox: memoryOutbox(), publish: { windowBytes: 32 * MIB } });
    await using tally = o.tally;
    const base = 96 * MIB; // the window, its rows once more on their way into the outbox, and those on their way out of it
    expect(o.sums).toEqual([base]);
    const consumer = await tally
      .consumer("g", { lanes: 2, credit: 5 })
      .on(small, () => {})
      .on(blobs, () => {})
      .start();
    const bytesOf = 5 * 1_000 + 5 * tally.traits.maxBytes;
    expect(o.sums).toEqual([base, base + bytesOf]);
    const last = o.events.findLast((e) => e.type === "memory-bound");
    expect(last).toMatchObject({ parts: { length: 4 } });
    await consumer.close();
    await using _other = await tally
      .consumer("g", { lanes: 2, credit: 5 })
      .on(small, () => {})
      .start();
    expect(o.sums.at(-1)).toBe(base + 5_000);
  });

  it("rule 22: what a broker's client fetches ahead of the credit is in it, for each topic", async () => {
    const plain = memory();
    const ahead: Broker = {
      name: plain.name,
      open(host) {
        const transport = plain.open(host);
        return {
          name: transport.name,
          traits: { ...transport.traits, aheadBytes: 5 * MIB },
          admin: transport.admin,
          halfMessages: null,
          members: null,
          audit: null,
          openSender: (...given) => transport.openSender(...given),
          openReceiver: (...given) => transport.openReceiver(...given),
          [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose](),
        };
      },
    };
    const o = await open({ broker: ahead });
    await using tally = o.tally;
    await using _g = await tally
      .consumer("g", { lanes: 2, credit: 5 })
      .on(small, () => {})
      .on(blobs, () => {})
      .start();
    expect(o.sums[1]! - o.sums[0]!).toBe(5 * 1_000 + 5 * tally.traits.maxBytes + 2 * 5 * MIB);
  });

  it("rule 22: the sum is refused above memory.max with all its parts, at openTally, and nothing is left open", async () => {
    const outbox = memoryOutbox();
    const disposed: string[] = [];
    const watched: TallyOptions["outbox"] = {
      async openOutbox(host) {
        const store = await outbox.openOutbox(host);
        return { ...store, [Symbol.asyncDispose]: async () => void disposed.push("outbox") };
      },
    };
    const error: unknown = await open({ outbox: watched, memory: { max: 100 * MIB } }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: "bad-config" });
    expect((error as TallyError).message).toMatch(
      /openTally: up to 160 MiB .* memory\.max is 100 MiB: publish window 64 MiB \+ outbox 96 MiB\. Give topics a maxBytes/,
    );
    expect(disposed).toEqual(["outbox"]);
  });

  it("and at a consumer's start, which leaves room for a smaller one", async () => {
    const o = await open({ memory: { max: 200 * MIB }, publish: { windowBytes: 16 * MIB } });
    await using tally = o.tally;
    const large = tally.consumer("g").on(blobs, () => {});
    await expect(large.start()).rejects.toThrow(/memory\.max is 200 MiB: publish window 16 MiB \+ blobs \/ g: 32 × /);
    await using _fits = await tally
      .consumer("g")
      .on(small, () => {})
      .start();
    expect(o.sums.at(-1)).toBe(16 * MIB + 100 * 1_000);
  });

  it.each([{ max: 0 }, { max: "1 GiB" }, { most: 1 }, 5])("refuses memory: %j", async (given) => {
    await expect(open({ memory: given as never })).rejects.toMatchObject({ code: "bad-config" });
  });
});

describe("a topic's maxBytes", () => {
  it("rejects what is larger at publish(), before the outbox; what is as large goes", async () => {
    const outbox = memoryOutbox();
    const always = topic<Uint8Array>("small", { codec: bytes, groups: ["g"], maxBytes: 1_000, outbox: "always" });
    const { tally: opened } = await open({ outbox });
    await using tally = opened;
    const error: unknown = await tally.publish(always, new Uint8Array(1_001), { id: "m1" }).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: "too-large", mayArrive: false, id: "m1" });
    expect((error as TallyError).message).toContain("topic small takes at most 1000");
    expect(tally.counters().spilled).toBeUndefined();
    expect((await tally.publish(always, new Uint8Array(1_000))).state).toBe("stored");
  });

  it("makes a larger delivery of somebody else a dead letter, with its bytes, and no crash", async () => {
    const broker = memory();
    const lax = topic<Uint8Array>("small", { codec: bytes, groups: ["g"] });
    const { tally: opened } = await open({ broker, inbox: memoryInbox() as never });
    await using tally = opened;
    const seen: number[] = [];
    await using _consumer = await tally
      .consumer("g")
      .on(small, (body) => void seen.push(body.length))
      .start();
    await tally.publish(lax, new Uint8Array(1_001));
    await tally.publish(lax, new Uint8Array(1_000));
    await expect.poll(() => [seen.length, tally.counters()["dead-lettered"]]).toEqual([1, 1]);
    expect(seen).toEqual([1_000]);
    const letters = topic<Uint8Array>("small.g.dead-letters", { codec: bytes, groups: ["dead-letters"] });
    const given: number[] = [];
    await using _office = await tally
      .consumer("dead-letters", { effect: "none" })
      .on(letters, (body) => void given.push(body.length))
      .start();
    await expect.poll(() => given).toEqual([1_001]);
  });
});
