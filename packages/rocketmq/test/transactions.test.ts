import type { Decision, HalfSession, Incoming } from "@tallymq/core/spi";
import { turns } from "@tallymq/testkit";
import { ORDERS, outgoing } from "@tallymq/testkit/port";
import { describe, expect, it } from "vitest";
import { FakeCluster } from "./fake-cluster.ts";
import { came, FakeDriver, no, ORDERED, SIGNAL, stored } from "./fake-driver.ts";

interface Asked {
  readonly name: string;
  readonly message: Incoming;
  answer(decision: Decision): void;
}

async function opened(cluster = new FakeCluster(), dying: unknown = null) {
  const driver = new FakeDriver();
  driver.dying = dying;
  const transport = driver.transport({}, cluster.cluster());
  const port = transport.halfMessages!;
  const asked: Asked[] = [];
  const lost: string[] = [];
  const session: HalfSession = await port.open(
    [ORDERS],
    {
      asked: (name, half, answer) => void asked.push({ name, message: half, answer }),
      lost: (error) => void lost.push(error.code),
    },
    SIGNAL,
  );
  return { driver, transport, port, session, cluster, asked, lost };
}

/** The next request: its id is a hash, which is made elsewhere. */
async function sent(driver: FakeDriver): Promise<void> {
  for (const before = driver.requests.length; driver.requests.length === before;) await turns();
}

describe("half messages", () => {
  it("have a topic of their own kind beside the topic, which its groups read", async () => {
    const { cluster, driver } = await opened();
    expect(cluster.kinds).toMatchObject({ orders: "NORMAL", orders_halves: "TRANSACTION" });
    expect(cluster.offsets.get("orders_billing orders_halves 0")).toBe(3);
    expect(driver.link.plan).toEqual({ kind: "producer", topics: ["orders_halves"] });
  });

  it("in a session whose end comes in one piece with its beginning: it says so", async () => {
    const { lost, session } = await opened(new FakeCluster(), new Error("14 UNAVAILABLE"));
    expect(lost).toEqual(["session-lost"]);
    expect((await session.prepare("payment", outgoing("m1"))).verdict.kind).toBe("unsent");
  });

  it("leave as half messages, one a request, with the name of their half; their handle decides them", async () => {
    const { driver, session } = await opened();
    const preparing = session.prepare("päyment", outgoing("m1"));
    await sent(driver);
    const [request] = driver.requests;
    expect(request!.messages).toMatchObject([{ topic: "orders_halves", half: true, deliverAt: null, keys: ["m1"] }]);
    expect(request!.messages[0]!.properties.get("tally-half")).toBe("p%C3%A4yment");
    stored(request!);
    const { verdict, handle } = await preparing;
    const id = request!.messages[0]!.messageId;
    expect([verdict.kind, handle]).toEqual(["accepted", `tx-${id}`]);
    await session.decide(outgoing("m1"), handle!, "commit");
    expect(driver.link.decisions).toEqual([`orders_halves tx-${id} commit`]);
  });

  it("whose decision the broker does not take: whoever decided is told, and why", async () => {
    const { driver, session } = await opened();
    driver.link.decided = no(40_410);
    await expect(session.decide(outgoing("m1"), "tx-1", "commit")).rejects.toMatchObject({
      message: expect.stringContaining("40410"),
    });
  });

  it("have an id of the protocol that each process knows, and another body another one", async () => {
    const { driver, session } = await opened();
    for (const given of [outgoing("m1"), outgoing("m1", { seq: 9 }), outgoing("m1", { body: Buffer.from("[]") })]) {
      void session.prepare("payment", given);
      await sent(driver);
    }
    const [one, same, other] = driver.requests.map(({ messages }) => messages[0]!.messageId);
    expect(one).toMatch(/^01[0-9A-F]{32}$/);
    expect(same).toBe(one);
    expect(other).not.toBe(one);
  });

  it.each([
    ["an OK without the id of a transaction", "doubt", { code: 20_000 }],
    ["a time-out", "doubt", { code: 50_400 }],
    ["no replica has it", "doubt", { code: 50_402 }],
    ["too many requests", "later", { code: 42_900 }],
    ["no right", "refused", { code: 40_100 }],
  ] as const)("answered with %s: %s, and no handle", async (_, kind, { code }) => {
    const { driver, session } = await opened();
    const preparing = session.prepare("payment", outgoing("m1"));
    await sent(driver);
    const status = no(code);
    const messageId = driver.requests[0]!.messages[0]!.messageId;
    driver.requests[0]!.answer({ status, entries: [{ status, messageId, transactionId: "" }] });
    expect(await preparing).toMatchObject({ verdict: { kind }, handle: null });
  });

  it("whose answer is lost are in doubt; those that cannot be sent are refused; after the end they are unsent", async () => {
    const { driver, session, lost } = await opened();
    const first = session.prepare("payment", outgoing("m1"));
    await sent(driver);
    driver.requests[0]!.fail(new Error("14 UNAVAILABLE"));
    expect((await first).verdict.kind).toBe("doubt");
    const large = await session.prepare("payment", outgoing("m2", { body: Buffer.alloc(2_000_000) }));
    expect(large.verdict).toMatchObject({ kind: "refused", error: { code: "too-large" } });
    driver.link.events.lost(new Error("gone"));
    expect(lost).toEqual(["session-lost"]);
    expect((await session.prepare("payment", outgoing("m3"))).verdict.kind).toBe("unsent");
  });

  it("a topic that comes later is announced, or nobody would be asked about it", async () => {
    const { driver, session, cluster } = await opened();
    await session.add({ ...ORDERS, name: "refunds" }, SIGNAL);
    expect(driver.link.announced).toEqual([["orders_halves", "refunds_halves"]]);
    expect(cluster.kinds["refunds_halves"]).toBe("TRANSACTION");
    await session.add({ ...ORDERS, name: "refunds" }, SIGNAL);
    expect(driver.link.announced).toHaveLength(1);
  });

  it("are not for ordered topics", async () => {
    const { port } = await opened();
    expect(port.refuses(ORDERED)).toMatchObject({ code: "unsupported" });
    expect(port.refuses(ORDERS)).toBe(null);
  });

  it("are not there without name servers: nobody could see what became of a commit", () => {
    expect(new FakeDriver().transport().halfMessages).toBe(null);
  });
});

describe("the broker asks", () => {
  const half = { topic: "orders_halves", messageId: "01AB", transactionId: "tx-1" };
  const given = came("m1", {
    topic: "orders_halves",
    properties: new Map([
      ["tally-id", "m1"],
      ["tally-producer", "shop"],
      ["tally-half", "p%C3%A4yment"],
    ]),
  });

  it("and the answer goes back as one; unknown is none", async () => {
    const { driver, asked } = await opened();
    driver.link.events.asked(half, given);
    expect(asked).toMatchObject([{ name: "päyment", message: { id: "m1", topic: "orders", producer: "shop" } }]);
    asked[0]!.answer("unknown");
    await turns();
    expect(driver.link.decisions).toEqual([]);
    asked[0]!.answer("rollback");
    await turns();
    expect(driver.link.decisions).toEqual(["orders_halves tx-1 rollback, as asked"]);
  });

  it("about what no Tally has sent, or after the end: nobody is", async () => {
    const { driver, asked, session } = await opened();
    driver.link.events.asked({ ...half, topic: "others" }, given);
    driver.link.events.asked(half, came("m1", { topic: "orders_halves" }));
    driver.link.events.asked(half, came("m1", { properties: new Map([["tally-half", "%"]]) }));
    await session[Symbol.asyncDispose]();
    driver.link.events.asked(half, given);
    expect(asked).toEqual([]);
  });
});

describe("what is seen at the brokers", () => {
  it("a message counts as delivered when the index finds it and what it finds has its id", async () => {
    const { port, driver, session, cluster } = await opened();
    void session.prepare("payment", outgoing("m1"));
    await sent(driver);
    const id = driver.requests[0]!.messages[0]!.messageId;
    expect(await port.delivered(outgoing("m1"), SIGNAL)).toBe("no");
    cluster.indexed.set(`orders_halves ${id}`, "another with the same hash");
    expect(await port.delivered(outgoing("m1"), SIGNAL)).toBe("no");
    cluster.indexed.set(`orders_halves ${id}`, `UNIQ_KEY\u0001${id}\u0002`);
    expect(await port.delivered(outgoing("m1"), SIGNAL)).toBe("yes");
  });

  it("how long it asks, by its settings, or by default", async () => {
    const { port, cluster } = await opened();
    expect(await port.asksFor(SIGNAL)).toBe(6_000 + 17 * 30_000 + 5_000);
    Object.assign(cluster.settings, {
      transactionTimeOut: "3000",
      transactionCheckInterval: "5000",
      transactionCheckMax: "4",
    });
    expect(await port.asksFor(SIGNAL)).toBe(3_000 + 6 * 5_000 + 5_000);
  });

  it("how many it has dropped", async () => {
    const { port } = await opened();
    expect(await port.dropped(SIGNAL)).toBe(8);
  });
});
