// Over 300 lines: one session; what each answer of the broker means is one table.
import type { Outgoing, Sender } from "@tallymq/core/spi";
import { turns } from "@tallymq/testkit";
import { ORDERS, outgoing, SenderJournal } from "@tallymq/testkit/port";
import { beforeEach, describe, expect, it } from "vitest";
import { FakeCluster } from "./fake-cluster.ts";
import { FakeDriver, FINE, ids, no, ORDERED, SIGNAL, stored } from "./fake-driver.ts";

let driver: FakeDriver;
let journal: SenderJournal;
let sender: Sender;

async function open(
  options: Parameters<FakeDriver["transport"]>[0] = {},
  cluster: FakeCluster | null = null,
): Promise<void> {
  driver = new FakeDriver();
  const transport = driver.transport(options, cluster?.cluster() ?? null);
  await transport.admin.declare([ORDERS, ORDERED], SIGNAL);
  await transport.admin.declareDelays(ORDERS, 1_000, SIGNAL);
  journal = new SenderJournal();
  sender = await transport.openSender(journal.events, SIGNAL);
}

beforeEach(() => open());

function send(...batch: readonly Outgoing[]): void {
  const lanes = Map.groupBy(batch, (m) => sender.lane(m, null));
  for (const [lane, some] of lanes) sender.send(lane, some, journal.of(some));
}

const step = (id: string, key: string): Outgoing => outgoing(id, { topic: "steps", key, ordered: true });

describe("a request", () => {
  it("holds what waits for a topic; the next batch goes by another lane", () => {
    const lane = sender.lane(outgoing("1"), null);
    send(outgoing("1"), outgoing("2", { key: "k" }), outgoing("3"));
    expect(sender.lane(outgoing("4"), null)).not.toBe(lane);
    send(outgoing("4"));
    expect(driver.requests.map(ids)).toEqual([["1", "2", "3"], ["4"]]);
  });

  it("holds so many messages and bytes at most; what is left goes one after the other", async () => {
    await open({ batchMessages: 3, batchBytes: 100 });
    const m = (id: string, size: number): Outgoing => outgoing(id, { body: Buffer.alloc(size) });
    send(m("1", 1), m("2", 1), m("3", 1), m("4", 60), m("5", 41), m("6", 150));
    const sent: (readonly string[])[] = [];
    while (sent.length < 4) {
      expect(driver.requests).toHaveLength(sent.length + 1);
      sent.push(ids(driver.requests.at(-1)!));
      stored(driver.requests.at(-1)!);
      await turns();
    }
    expect(sent).toEqual([["1", "2", "3"], ["4"], ["5"], ["6"]]);
    expect(journal.lines).toHaveLength(6);
  });

  it("of an ordered topic holds one message, with its key as message group", async () => {
    send(step("1", "k"), step("2", "k"));
    expect(driver.requests.map(ids)).toEqual([["1"]]);
    expect(driver.requests[0]!.messages[0]!.messageGroup).toBe("k");
    stored(driver.requests[0]!);
    await turns();
    expect(driver.requests.map(ids)).toEqual([["1"], ["2"]]);
  });

  it("has a hash for a message group that the proxy would not take", () => {
    send(step("1", "x".repeat(65)), step("2", "a b"));
    for (const { messages } of driver.requests) expect(messages[0]!.messageGroup).toMatch(/^[0-9a-f]{16}$/);
  });

  it("under a burst of any size there are only so many at one time", () => {
    const burst = Array.from({ length: 20_000 }, (_, n) => step(`${n}`, `k${n}`));
    send(...burst);
    for (let n = 0; n < 20; n++) send(outgoing(`n${n}`));
    const lanes = new Set(Array.from({ length: 20 }, (_, n) => sender.lane(outgoing(`m${n}`), null)));
    expect(lanes.size).toBe(1);
    // Core sends no second batch of a lane: 4 lanes for these, and 16 for the ordered topic.
    expect(driver.requests.filter(({ messages }) => messages[0]!.topic === "steps").length).toBeLessThanOrEqual(16);
  });

  it("has the id in keys and in a property, bytes as body, and an id of the protocol's own that no other has", () => {
    send(outgoing("order-1"), outgoing("two words"));
    const [one, two] = driver.requests[0]!.messages;
    expect(one).toMatchObject({ keys: ["order-1"], messageGroup: null, deliverAt: null });
    expect(one!.properties.get("tally-id")).toBe("order-1");
    expect(two!.keys).toEqual([]);
    expect(two!.properties.get("tally-id")).toBe("two words");
    expect(one!.body).toBeInstanceOf(Uint8Array);
    expect(one!.messageId).toMatch(/^01[0-9A-F]{32}$/);
    expect(two!.messageId).not.toBe(one!.messageId);
  });
});

describe("a delayed message", () => {
  it("goes alone to a topic of its kind, and says when it is due; the broker hands it out a little sooner", () => {
    send(outgoing("1", { delayMs: 60_000 }), outgoing("2", { delayMs: 60_000, group: "billing" }));
    expect(driver.requests.map((r) => [r.messages[0]!.topic, ids(r)])).toEqual([
      ["orders_later", ["1"]],
      ["orders_billing_copies", ["2"]],
    ]);
    const [{ properties, deliverAt }] = driver.requests[0]!.messages as [(typeof driver.requests)[0]["messages"][0]];
    const due = driver.clock.wall() + 60_000;
    expect(properties.get("tally-due")).toBe(String(due));
    expect(deliverAt).toBe(due - 2_000);
  });

  it("a copy that is not delayed has a time that has come", () => {
    send(outgoing("1", { group: "billing" }));
    const [m] = driver.requests[0]!.messages;
    expect(m!.deliverAt).toBeLessThan(driver.clock.wall());
    expect(m!.properties.has("tally-due")).toBe(false);
  });
});

describe("an answer", () => {
  it("counts with OK and the id of each message: between commas, or in an entry each", async () => {
    send(outgoing("1"), outgoing("2"));
    stored(driver.requests[0]!);
    send(outgoing("3"), outgoing("4"));
    driver.requests[1]!.answer({
      status: FINE,
      entries: ["a", "b"].map((messageId) => ({ status: FINE, messageId, transactionId: "" })),
    });
    await turns();
    expect(journal.lines).toEqual(["1 accepted", "2 accepted", "3 accepted", "4 accepted"]);
  });

  it.each([
    ["no entries", []],
    ["an empty id", [{ status: FINE, messageId: "", transactionId: "" }]],
    ["one id for two", [{ status: FINE, messageId: "a", transactionId: "" }]],
    ["a comma instead of ids", [{ status: FINE, messageId: ",", transactionId: "" }]],
  ])("of OK with %s is a false success: in doubt", async (_, entries) => {
    send(outgoing("1"), outgoing("2"));
    driver.requests[0]!.answer({ status: FINE, entries });
    await turns();
    expect(journal.lines).toEqual(["1 doubt", "2 doubt"]);
  });

  it.each([
    [50_400, "doubt"],
    [50_001, "doubt"],
    [50_002, "doubt"],
    [40_800, "doubt"],
    [0, "doubt"],
    [59_999, "doubt"],
    [42_900, "later"],
    [40_014, "later"],
    [40_400, "later"],
    [40_402, "later"],
    [40_300, "later"],
    [40_100, "refused"],
    [41_301, "refused"],
    [41_302, "refused"],
    [40_007, "refused"],
    [50_100, "refused"],
  ])("%i means %s", async (code, kind) => {
    send(outgoing("1"));
    driver.requests[0]!.answer({ status: no(code), entries: [] });
    await turns();
    expect(journal.lines).toEqual([`1 ${kind}`]);
    const verdict = journal.verdicts.get("1")!;
    expect(verdict).toMatchObject({ error: { mayArrive: kind === "doubt" } });
  });

  it.each([50_401, 50_402])(
    "%i means later, and may be there: the broker has it, and disk or replica do not",
    async (code) => {
      send(outgoing("1"));
      driver.requests[0]!.answer({ status: no(code), entries: [] });
      await turns();
      expect(journal.verdicts.get("1")).toMatchObject({ kind: "later", error: { mayArrive: true, retryable: true } });
    },
  );

  it('50001 "in-sync replicas not enough" is later: nothing was stored', async () => {
    send(outgoing("1"));
    driver.requests[0]!.answer({ status: no(50_001, "in-sync replicas not enough, 1 of 2"), entries: [] });
    await turns();
    expect(journal.lines).toEqual(["1 later"]);
  });

  it("that looks final is final when it has persisted for 30 seconds and the brokers say the same; one success begins anew", async () => {
    const cluster = new FakeCluster();
    await open({}, cluster);
    const turned = async (id: string): Promise<string> => {
      send(outgoing(id));
      driver.requests.at(-1)!.answer({ status: no(40_402, "No topic route info"), entries: [] });
      await turns();
      return journal.lines.at(-1)!;
    };
    cluster.kinds["orders"] = "FIFO";
    expect(await turned("1")).toBe("1 later");
    await driver.clock.advance(29_000);
    expect(await turned("2")).toBe("2 later");
    send(outgoing("ok"));
    stored(driver.requests.at(-1)!);
    await turns();
    await driver.clock.advance(2_000);
    expect(await turned("3")).toBe("3 later");
    await driver.clock.advance(30_000);
    expect(await turned("another kind")).toBe("another kind refused");
    cluster.kinds["orders"] = "NORMAL";
    expect(await turned("there")).toBe("there later");
    cluster.writes = false;
    expect(await turned("no writes")).toBe("no writes refused");
    delete cluster.kinds["orders"];
    expect(await turned("gone")).toBe("gone refused");
  });

  it.each([
    ["the broker is away", (cluster: FakeCluster) => cluster.away.add(10_911)],
    ["the name servers are away", (cluster: FakeCluster) => cluster.away.add(9_876)],
    ["one of the brokers has no master", (cluster: FakeCluster) => (cluster.masterless = true)],
  ])("that looks final is final never while %s, however long", async (_, happens) => {
    const cluster = new FakeCluster();
    await open({}, cluster);
    delete cluster.kinds["orders"];
    happens(cluster);
    for (let n = 0; n < 5; n++) {
      await cluster.restart();
      send(outgoing(`${n}`));
      driver.requests.at(-1)!.answer({ status: no(40_014, "the expected type is UNSPECIFIED"), entries: [] });
      await turns();
      expect(journal.lines.at(-1)).toBe(`${n} later`);
      await driver.clock.advance(60_000);
    }
  });

  it("that looks final is final never without name servers, which nobody can ask", async () => {
    for (const id of ["1", "2"]) {
      send(outgoing(id));
      driver.requests.at(-1)!.answer({ status: no(40_402), entries: [] });
      await turns();
      expect(journal.lines.at(-1)).toBe(`${id} later`);
      await driver.clock.advance(60_000);
    }
  });

  it("that never comes is doubt: the request was rejected by the driver", async () => {
    send(outgoing("1"));
    driver.requests[0]!.fail(Object.assign(new Error("4 DEADLINE_EXCEEDED"), { code: 4 }));
    await turns();
    expect(journal.verdicts.get("1")).toMatchObject({ kind: "doubt", error: { code: "in-doubt", mayArrive: true } });
  });
});

describe("one bad message", () => {
  it("for the broker is found by sending each alone; its siblings are accepted", async () => {
    send(outgoing("1"), outgoing("bad"), outgoing("3"));
    driver.requests[0]!.answer({ status: no(40_007), entries: [] });
    await turns();
    for (const bad of [false, true, false]) {
      const request = driver.requests.at(-1)!;
      expect(request.messages).toHaveLength(1);
      if (bad) request.answer({ status: no(40_007), entries: [] });
      else stored(request);
      await turns();
    }
    expect(journal.lines).toEqual(["1 accepted", "bad refused", "3 accepted"]);
  });

  it("for us is refused alone, before anything leaves: body, headers, raw properties", async () => {
    await open({ maxBytes: 10 });
    send(
      outgoing("large", { body: Buffer.alloc(11) }),
      outgoing("fine"),
      outgoing("headers", { headers: { a: "x".repeat(16_384) } }),
      outgoing("raw", { native: { tag: "t" } }),
    );
    expect(driver.requests.map(ids)).toEqual([["fine"]]);
    expect(journal.verdicts.get("large")).toMatchObject({ kind: "refused", error: { code: "too-large" } });
    expect(journal.verdicts.get("headers")).toMatchObject({ kind: "refused", error: { code: "too-large" } });
    expect(journal.verdicts.get("raw")).toMatchObject({ kind: "refused", error: { code: "bad-message" } });
  });

  it("of a topic that nobody has declared is unsent", () => {
    send(outgoing("1", { topic: "unknown" }));
    expect(journal.lines).toEqual(["1 unsent"]);
  });
});

describe("a session", () => {
  it("that is lost says so first, and then ends what is open as doubt, in the same tick; nothing new leaves", async () => {
    send(outgoing("1"), outgoing("2"));
    driver.link.events.lost(Object.assign(new Error("14 UNAVAILABLE"), { code: 14 }));
    expect(journal.lines).toEqual(["lost", "1 doubt", "2 doubt"]);
    send(outgoing("3"));
    expect(journal.lines.at(-1)).toBe("3 unsent");
    driver.requests[0]!.fail(new Error("late"));
    await turns();
    expect(journal.lines).toHaveLength(4);
  });

  it("that is disposed of ends what is out as doubt, without a loss, and closes its link", async () => {
    send(outgoing("1"));
    const closing = Promise.all([sender[Symbol.asyncDispose](), sender[Symbol.asyncDispose]()]);
    expect(journal.lines).toEqual(["1 doubt"]);
    await closing;
    expect(driver.link.closed).toBe(1);
    stored(driver.requests[0]!);
    await turns();
    expect(journal.lines).toHaveLength(1);
  });

  it("whose end comes in one piece with its beginning says so, before there is anything to send on", async () => {
    driver.dying = Object.assign(new Error("14 UNAVAILABLE"), { code: 14 });
    journal = new SenderJournal();
    sender = await driver.transport().openSender(journal.events, SIGNAL);
    expect(journal.lines).toEqual(["lost"]);
    expect(journal.errors[0]).toMatchObject({ code: "session-lost", retryable: true });
    await sender[Symbol.asyncDispose]();
    expect(driver.link.closed).toBe(1);
  });

  it("leaves no timer", async () => {
    await sender[Symbol.asyncDispose]();
    expect(driver.clock.pending()).toBe(0);
  });
});
