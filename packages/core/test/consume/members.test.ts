// Rule 19: members of a group show each other which inbox they have.
import { memory, memoryInbox } from "@tallymq/testkit";
import { describe, expect, it } from "vitest";
import { openTally, type Tally, type TallyEvent, type TallyOptions, topic } from "../../src/index.ts";
import type { Broker, MembersPort } from "../../src/spi.ts";

const orders = topic<number>("orders", { groups: ["billing"] });

interface Process extends AsyncDisposable {
  readonly tally: Tally;
  /** Of this type, so far. */
  of<T extends TallyEvent["type"]>(type: T): Extract<TallyEvent, { readonly type: T }>[];
  start(group?: string, options?: { readonly effect?: "none" | "marked" }): Promise<number[]>;
}

async function start(broker: Broker, inbox: unknown, options: Partial<TallyOptions> = {}): Promise<Process> {
  const events: TallyEvent[] = [];
  const given = { service: "shop", broker, inbox: inbox as never, onEvent: (e: TallyEvent) => void events.push(e) };
  const tally: Tally = await openTally({ ...given, ...options });
  return {
    tally,
    of: <T extends TallyEvent["type"]>(type: T) =>
      events.filter((e): e is Extract<TallyEvent, { readonly type: T }> => e.type === type),
    async start(group = "billing", consumer = {}) {
      const seen: number[] = [];
      await tally
        .consumer(group, consumer)
        .on(orders, (n) => void seen.push(n))
        .start();
      return seen;
    },
    [Symbol.asyncDispose]: () => tally.close(),
  };
}

/** The same broker, with another way of showing members. */
function showing(broker: Broker, members: MembersPort | null): Broker {
  return {
    name: broker.name,
    open(host) {
      const transport = broker.open(host);
      return {
        name: transport.name,
        traits: transport.traits,
        admin: transport.admin,
        halfMessages: null,
        audit: null,
        members,
        openSender: (events, signal) => transport.openSender(events, signal),
        openReceiver: (subscription, events, signal) => transport.openReceiver(subscription, events, signal),
        [Symbol.asyncDispose]: () => transport[Symbol.asyncDispose](),
      };
    },
  };
}

describe("members of a group with different inboxes", () => {
  it("rule 19: members of a group with different inboxes are a finding for both, said once, and both go on", async () => {
    const broker = memory();
    await using a = await start(broker, memoryInbox());
    await using b = await start(broker, memoryInbox());
    const seen = await Promise.all([a.start(), b.start()]);
    await expect.poll(() => [a.of("inbox-differs").length, b.of("inbox-differs").length]).toEqual([1, 1]);
    const [[one], [two]] = [a.of("inbox-differs"), b.of("inbox-differs")];
    expect(one).toMatchObject({ topic: "orders", group: "billing", ours: two!.theirs, theirs: two!.ours });
    expect(one!.ours).not.toBe(one!.theirs);
    // The name in the broker's listing says it too.
    const short = one!.theirs.replaceAll(/[^A-Za-z0-9]/g, "").slice(0, 8);
    expect(one!.consumer).toMatch(new RegExp(`^shop-[0-9a-f]{8}-[0-9a-f]{6}-inbox-${short}$`));
    broker.faults.loseSessions();
    for (let n = 0; n < 20; n++) await a.tally.publish(orders, n);
    await expect.poll(() => seen.flat().length).toBe(20);
    expect([a.of("inbox-differs").length, b.of("inbox-differs").length]).toEqual([1, 1]);
  });

  it("are none with one inbox, in different groups, without an effect of it, or where nobody looks", async () => {
    const broker = memory();
    const inbox = memoryInbox();
    await using a = await start(broker, inbox);
    await using b = await start(broker, inbox);
    await using c = await start(broker, memoryInbox());
    await using d = await start(broker, memoryInbox(), { durability: "off" });
    await a.start();
    await b.start();
    await c.start("shipping");
    await c.start("billing", { effect: "none" });
    await d.start();
    await new Promise((resolve) => setTimeout(resolve, 50));
    for (const each of [a, b, c, d]) expect(each.of("inbox-differs")).toEqual([]);
  });

  it('rule 19: members of a group with different inboxes are refused at start under durability: "enforce"; who was there goes on, and so does one with the same inbox', async () => {
    const broker = memory();
    const inbox = memoryInbox();
    await using a = await start(broker, inbox, { durability: "enforce" });
    await using b = await start(broker, memoryInbox(), { durability: "enforce" });
    await using c = await start(broker, inbox, { durability: "enforce" });
    const seen = await a.start();
    await expect(b.start()).rejects.toMatchObject({
      code: "bad-config",
      message: expect.stringContaining("another inbox"),
    });
    const also = await c.start();
    expect(a.of("inbox-differs")).toHaveLength(1);
    for (let n = 0; n < 5; n++) await b.tally.publish(orders, n);
    await expect.poll(() => seen.length + also.length).toBe(5);
    // What is not acked yet when sessions are lost may come to the other inbox.
    await broker.idle();
    // One that came later and only warns: whoever is at work stays at it, also after an outage that both had.
    await using w = await start(broker, memoryInbox());
    const later = await w.start();
    broker.faults.loseSessions();
    const opened = (): number => a.of("session-opened").filter(({ role }) => role === "receive").length;
    await expect.poll(opened).toBe(2);
    for (let n = 0; n < 5; n++) await b.tally.publish(orders, n);
    await expect.poll(() => seen.length + also.length + later.length).toBe(10);
  });
});

describe("a broker that cannot show members", () => {
  const failing: MembersPort = { join: () => Promise.reject(new Error("no permission to declare")) };

  it("stops nobody from consuming; that it is not known is said once", async () => {
    await using a = await start(showing(memory(), failing), memoryInbox());
    const seen = await a.start();
    await a.start();
    await a.tally.publish(orders, 1);
    await expect.poll(() => seen.length + a.of("surfaced").length).toBeGreaterThan(0);
    expect(a.of("surfaced").map((e) => e.text)).toEqual([
      "whether all members of the group have one inbox is not known: no permission to declare",
    ]);
  });

  it("nor does one that does not answer, or shows nonsense", async () => {
    const hanging: MembersPort = { join: () => new Promise(() => {}) };
    const talking: MembersPort = {
      async join(_topic, _group, _card, seen) {
        for (const card of ["", "{", "null", "7", '{"inbox":5}', "{}"]) seen(card);
        return { async [Symbol.asyncDispose]() {} };
      },
    };
    await using a = await start(showing(memory(), hanging), memoryInbox());
    await using b = await start(showing(memory(), talking), memoryInbox());
    await a.start();
    await b.start();
    expect([...b.of("inbox-differs"), ...b.of("surfaced")]).toEqual([]);
  });

  it("nor does one whose seat comes after the session is over, and cannot be left any more", async () => {
    const seated = Promise.withResolvers<AsyncDisposable>();
    let left = 0;
    const gone = async (): Promise<void> => {
      left++;
      throw new Error("the channel is closed");
    };
    await using a = await start(showing(memory(), { join: () => seated.promise }), memoryInbox());
    await a.start();
    await a.tally.close();
    // Vitest fails on a rejection that nobody handles.
    seated.resolve({ [Symbol.asyncDispose]: gone });
    await expect.poll(() => left).toBe(1);
    await new Promise((resolve) => setTimeout(resolve, 5));
  });

  it('is refused by name under durability: "enforce"', async () => {
    const opening = start(showing(memory(), null), memoryInbox(), { durability: "enforce" });
    await expect(opening).rejects.toMatchObject({ code: "unsupported", message: expect.stringContaining("enforce") });
    await expect(start(memory(), memoryInbox(), { durability: "sometimes" as never })).rejects.toMatchObject({
      code: "bad-config",
    });
  });
});
