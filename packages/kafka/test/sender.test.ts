// One thing: what becomes of each request, and with it of the session.
import type { Outgoing, Sender } from "@tallymq/core/spi";
import { turns } from "@tallymq/testkit";
import { ORDERS, outgoing, SenderJournal } from "@tallymq/testkit/port";
import { beforeEach, describe, expect, it } from "vitest";
import { SendFailure } from "../src/driver/driver.ts";
import { FakeDriver, headersOf, ids, SIGNAL, taken } from "./fake-driver.ts";

let driver: FakeDriver;
let journal: SenderJournal;
let sender: Sender;

async function open(options: Parameters<FakeDriver["transport"]>[0] = {}): Promise<void> {
  driver = new FakeDriver();
  const transport = driver.transport(options);
  await transport.admin.declare([ORDERS], SIGNAL);
  journal = new SenderJournal();
  sender = await transport.openSender(journal.events, SIGNAL);
}

beforeEach(() => open());

function send(...batch: readonly Outgoing[]): void {
  const lanes = Map.groupBy(batch, (m) => sender.lane(m, null));
  for (const [lane, some] of lanes) sender.send(lane, some, journal.of(some));
}

/** Ids whose keys lie in one partition each. */
const A = (id: string, body: Buffer = Buffer.from("{}")): Outgoing => outgoing(id, { key: "a", body });
const B = (id: string): Outgoing => outgoing(id, { key: "d" });

const failure = (attempts: number, type: string): SendFailure =>
  new SendFailure(attempts, Object.assign(new Error(type), { type }));

describe("a request", () => {
  it("carries one partition", () => {
    send(A("a1"), B("b1"), A("a2"));
    expect(driver.requests.map((r) => [r.topic, ids(r)])).toEqual([
      ["orders", ["a1", "a2"]],
      ["orders", ["b1"]],
    ]);
    expect(driver.requests[0]!.partition).not.toBe(driver.requests[1]!.partition);
  });

  it("holds bodies up to its bound; a batch that is larger goes as several, one after the other", async () => {
    await open({ batchBytes: 100 });
    const m = (id: string, size: number): Outgoing => outgoing(id, { key: "a", body: Buffer.alloc(size) });
    send(m("1", 60), m("2", 40), m("3", 1), m("4", 150), m("5", 10));
    const sent: (readonly string[])[] = [];
    while (sent.length < 4) {
      expect(driver.requests).toHaveLength(sent.length + 1);
      const request = driver.requests.at(-1)!;
      sent.push(ids(request));
      taken(request);
      await turns();
    }
    expect(sent).toEqual([["1", "2"], ["3"], ["4"], ["5"]]);
    expect(journal.lines).toHaveLength(5);
  });

  it("of keyless messages goes to one partition, the next one to the next", () => {
    send(outgoing("1"), outgoing("2"));
    send(outgoing("3"));
    send(outgoing("4"));
    expect(driver.requests.map((r) => [r.partition, ids(r)])).toEqual([
      [0, ["1", "2"]],
      [1, ["3"]],
      [0, ["4"]],
    ]);
  });

  it("of a copy for one group goes to the group's own topic", () => {
    send(outgoing("copy", { group: "billing" }));
    expect(driver.requests[0]!.topic).toBe("orders.billing.copies");
  });
});

describe("a send counts only if its answer names that one partition, without an error and with an offset", () => {
  const other = { partition: 7, errorCode: 0, offset: 3 };
  it.each([
    ["[]: kafkajs' pool has another broker under the leader's number", []],
    ["another partition", [other]],
    ["two partitions", [{ partition: 1, errorCode: 0, offset: 1 }, other]],
    ["an error", [{ partition: 1, errorCode: 6, offset: 1 }]],
    ["no offset", [{ partition: 1, errorCode: 0, offset: null }]],
    ["offset -1", [{ partition: 1, errorCode: 0, offset: -1 }]],
  ])("%s", async (_, answer) => {
    send(outgoing("1", { key: "d" }));
    driver.requests[0]!.answer(answer);
    await turns();
    expect(journal.lines).toEqual(["retired", "1 doubt"]);
  });

  it("and then it is accepted, with what the topic's replicas vouch for", async () => {
    send(A("a1"));
    taken(driver.requests[0]!, 12);
    await turns();
    expect(journal.verdicts.get("a1")).toEqual({
      kind: "accepted",
      proof: { routed: "yes", persisted: "unverified", replicated: "yes" },
    });
  });

  it("where one replica is enough, replication is not vouched for", async () => {
    driver = new FakeDriver();
    driver.minIsr = "1";
    const transport = driver.transport();
    await transport.admin.declare([ORDERS], SIGNAL);
    sender = await transport.openSender(journal.events, SIGNAL);
    send(A("a1"));
    taken(driver.requests[0]!);
    await turns();
    expect(journal.verdicts.get("a1")).toMatchObject({ proof: { replicated: "unverified" } });
  });
});

describe("a rejected send", () => {
  it("retires the producer: its batch is in doubt, what is out on other partitions ends by itself, nothing new is taken", async () => {
    send(A("a1"), B("b1"));
    const [a, b] = driver.requests;
    a!.fail(failure(11, "REQUEST_TIMED_OUT"));
    await turns();
    expect(journal.lines).toEqual(["retired", "a1 doubt"]);
    send(A("a2"));
    expect(journal.verdicts.get("a2")!.kind).toBe("unsent");
    taken(b!);
    await turns();
    expect(journal.verdicts.get("b1")!.kind).toBe("accepted");
    expect(journal.errors).toHaveLength(1);
    expect(driver.closed).toEqual([]);
  });

  it("leaves unsent what was to follow in the same batch", async () => {
    await open({ batchBytes: 1 });
    send(A("a1"), A("a2"), A("a3"));
    driver.requests[0]!.fail(failure(2, "NETWORK_EXCEPTION"));
    await turns();
    expect(journal.lines).toEqual(["retired", "a1 doubt", "a2 unsent", "a3 unsent"]);
    expect(driver.requests).toHaveLength(1);
  });

  it("is definite only when the broker said no to the one attempt there was", async () => {
    send(A("a1"));
    driver.requests[0]!.fail(failure(1, "TOPIC_AUTHORIZATION_FAILED"));
    await turns();
    expect(journal.verdicts.get("a1")).toMatchObject({ kind: "refused", error: { code: "unauthorized" } });
    send(A("a2"));
    driver.requests[1]!.fail(failure(2, "TOPIC_AUTHORIZATION_FAILED"));
    await turns();
    expect(journal.verdicts.get("a2")!.kind).toBe("doubt");
  });
});

describe("a record that is too large", () => {
  it("for us is refused alone, before anything leaves", async () => {
    await open({ maxBytes: 10 });
    send(A("a1"), outgoing("large", { key: "a", body: Buffer.alloc(11) }), A("a2"));
    expect(ids(driver.requests[0]!)).toEqual(["a1", "a2"]);
    expect(journal.verdicts.get("large")).toMatchObject({ kind: "refused", error: { code: "too-large", id: "large" } });
    taken(driver.requests[0]!);
    await turns();
    expect(journal.verdicts.get("a2")!.kind).toBe("accepted");
  });

  it("for the broker is found by halving; its siblings are accepted, in their order, and the producer stays", async () => {
    send(A("a1"), A("large"), A("a2"));
    const tooLarge = ["a1,large,a2", "large,a2", "large"];
    for (let n = 0; n < 5; n++) {
      expect(driver.requests).toHaveLength(n + 1);
      const request = driver.requests[n]!;
      if (tooLarge.includes(ids(request).join())) request.fail(failure(1, "MESSAGE_TOO_LARGE"));
      else taken(request);
      await turns();
    }
    expect(driver.requests.map((r) => ids(r).join())).toEqual(["a1,large,a2", "a1", "large,a2", "large", "a2"]);
    expect(journal.lines).toEqual(["a1 accepted", "large refused", "a2 accepted"]);
    expect(journal.verdicts.get("large")).toMatchObject({ error: { code: "too-large", mayArrive: false } });
  });
});

describe("a record that the broker does not take (keyless, in a compacted topic)", () => {
  it("is found by halving: its siblings are accepted, and the next batches are no smaller", async () => {
    send(A("a1"), A("bad"), A("a2"));
    for (let n = 0; n < 5; n++) {
      const request = driver.requests[n]!;
      if (ids(request).includes("bad")) request.fail(failure(1, "INVALID_RECORD"));
      else taken(request);
      await turns();
    }
    expect(journal.lines).toEqual(["a1 accepted", "bad refused", "a2 accepted"]);
    expect(journal.verdicts.get("bad")).toMatchObject({ error: { code: "refused", mayArrive: false } });
    send(A("a3"), A("a4"), A("a5"));
    expect(ids(driver.requests.at(-1)!)).toEqual(["a3", "a4", "a5"]);
  });
});

describe("a batch that is too large for its topic", () => {
  it("goes in halves, and the next ones begin as small: one message after the other would take a lane for ever", async () => {
    const m = (id: string): Outgoing => A(id, Buffer.alloc(100));
    send(m("1"), m("2"), m("3"), m("4"));
    driver.requests[0]!.fail(failure(1, "MESSAGE_TOO_LARGE"));
    await turns();
    taken(driver.requests[1]!);
    await turns();
    taken(driver.requests[2]!);
    await turns();
    send(m("5"), m("6"), m("7"));
    taken(driver.requests[3]!);
    await turns();
    expect(driver.requests.map((r) => ids(r).join())).toEqual(["1,2,3,4", "1,2", "3,4", "5,6", "7"]);
  });
});

describe("what cannot be sent", () => {
  it("with raw properties is refused by name", () => {
    send(outgoing("1", { native: { partition: 3 } }));
    expect(journal.verdicts.get("1")).toMatchObject({ kind: "refused", error: { code: "bad-message" } });
    expect(driver.requests).toEqual([]);
  });

  it("of a topic that nobody has declared is unsent", () => {
    send(outgoing("1", { topic: "unknown" }));
    expect(journal.lines).toEqual(["1 unsent"]);
  });
});

describe("disposing", () => {
  it("ends what is out as doubt, without a loss, and closes the producer once", async () => {
    send(A("a1"), A("a2"), B("b1"));
    const [first, second] = [sender[Symbol.asyncDispose](), sender[Symbol.asyncDispose]()];
    expect(journal.lines).toEqual(["a1 doubt", "a2 doubt", "b1 doubt"]);
    await Promise.all([first, second]);
    expect(driver.closed).toEqual([1]);
    taken(driver.requests[0]!);
    driver.requests[1]!.fail(failure(1, "NETWORK_EXCEPTION"));
    await turns();
    expect(journal.lines).toHaveLength(3);
  });
});

describe("where a copy in doubt went", () => {
  it("is kept as its partition, and is found again by a process that has met its topics in another order", async () => {
    const more = { name: "invoices", ordered: false, groups: ["billing"] };
    const before = driver.transport();
    await before.admin.declare([ORDERS, more], SIGNAL);
    const first = await before.openSender(journal.events, SIGNAL);
    first.send(first.lane(outgoing("m"), null), [outgoing("m")], journal.of([outgoing("m")]));
    const went = first.lane(outgoing("n"), null);
    const kept = first.kept(went);
    expect(kept).toBe(1);

    const after = driver.transport();
    await after.admin.declare([more, ORDERS], SIGNAL);
    const second = await after.openSender(journal.events, SIGNAL);
    for (const at of [0, 1]) second.lane(outgoing("i", { topic: "invoices" }), at);
    for (const key of [null, "a", "d"]) {
      const again = outgoing("again", { key });
      second.send(second.lane(again, kept), [again], journal.of([again]));
      const { topic, partition } = driver.requests.at(-1)!;
      expect([topic, partition]).toEqual(["orders", 1]);
      taken(driver.requests.at(-1)!);
    }
  });

  it("is some partition that is there, whatever the number", () => {
    for (const kept of [0, 1, 7, 2 ** 31 - 1]) {
      const m = outgoing(`m${kept}`);
      sender.send(sender.lane(m, kept), [m], journal.of([m]));
      expect(driver.requests.at(-1)!.partition).toBe(kept % 2);
    }
  });

  it("of a delayed one is nothing: what is left of its delay says where it goes", async () => {
    const transport = driver.transport();
    await transport.admin.declare([ORDERS], SIGNAL);
    await transport.admin.declareDelays(ORDERS, 1_000, SIGNAL);
    const own = await transport.openSender(journal.events, SIGNAL);
    const later = outgoing("m", { delayMs: 1_000 });
    expect(own.kept(own.lane(later, null))).toBe(null);
    expect(own.lane(later, 7)).toBe(own.lane(later, null));
    await transport[Symbol.asyncDispose]();
  });
});

describe("a delayed message", () => {
  it("goes to the step of its delay, and says how long, and whose copy it is", async () => {
    await open();
    const transport = driver.transport();
    await transport.admin.declare([ORDERS], SIGNAL);
    const later = outgoing("m", { group: "billing", delayMs: 1_000, key: "k" });
    const own = await transport.openSender(journal.events, SIGNAL);
    expect(own.lane(later, null)).toBe(-1);
    await transport.admin.declareDelays(ORDERS, 1_000, SIGNAL);
    own.send(own.lane(later, null), [later], journal.of([later]));
    const [request] = driver.requests;
    expect([request!.topic, request!.partition]).toEqual(["orders.delays", 3]);
    expect(headersOf(request!.records[0]!)).toMatchObject({ "tally-delay": "1000", "tally-delay-group": "billing" });
    taken(request!);
    await transport[Symbol.asyncDispose]();
  });

  it("of an ordered topic is refused, by name", async () => {
    const m = outgoing("m", { delayMs: 10, ordered: true, key: "a" });
    sender.send(sender.lane(outgoing("n"), null), [m], journal.of([m]));
    expect(journal.verdicts.get("m")).toMatchObject({
      kind: "refused",
      error: { code: "unsupported", message: expect.stringContaining("topic orders is ordered") },
    });
    expect(driver.requests).toEqual([]);
  });
});
