// One thing: the way of what is delayed, from its first step to where it is due, and all that can happen on it.
import { turns } from "@tallymq/testkit";
import { DEAF, ORDERS } from "@tallymq/testkit/port";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { SendFailure } from "../../src/driver/driver.ts";
import type { KafkaTransport } from "../../src/transport.ts";
import { FakeDriver, type FakeMember, headersOf, ids, type Request, SIGNAL, taken } from "../fake-driver.ts";

const HOUR = 3_600_000;
let driver: FakeDriver;
let transport: KafkaTransport;
const surfaced: string[] = [];

beforeEach(async () => {
  driver = new FakeDriver();
  surfaced.length = 0;
  transport = driver.transport();
  await transport.admin.declare([ORDERS], SIGNAL);
  const events = { surfaced: (what: string): void => void surfaced.push(what), retired: () => {}, lost: () => {} };
  await transport.openSender({ ...events, blocked: () => {}, unblocked: () => {} }, SIGNAL);
  await transport.admin.declareDelays(ORDERS, HOUR, SIGNAL);
  await turns();
});
afterEach(async () => {
  const closing = transport[Symbol.asyncDispose]();
  await pass(1_000);
  for (const request of driver.requests) request.fail(new Error("closed"));
  await closing;
});

const forwarder = (): FakeMember => driver.members.findLast(({ plan }) => plan.topics[0] === "orders.delays")!;

/** Time goes by, and the broker answers heartbeats. */
async function pass(ms: number): Promise<void> {
  for (let left = ms; left > 0; left -= 5_000) {
    for (const member of driver.members) member.events.alive();
    await driver.clock.advance(Math.min(left, 5_000));
  }
  await turns();
}

/** Taken by the broker now. */
function delayed(step: number, offset: number, id: string, headers: Record<string, string>, key: string | null = null) {
  const all = { "tally-id": id, "tally-producer": "shop", ...headers };
  forwarder().events.fetched("orders.delays", step, [
    {
      offset,
      timestamp: driver.clock.wall(),
      key: key === null ? null : Buffer.from(key),
      value: Buffer.from("{}"),
      headers: Object.fromEntries(Object.entries(all).map(([name, value]) => [name, Buffer.from(value)])),
      native: null,
      unreadable: null,
    },
  ]);
}

const last = (): Request => driver.requests.at(-1)!;
const committed = (step: number): number | undefined => forwarder().last(step, "orders.delays")?.offset;

describe("what is delayed", () => {
  it("leaves its step when its time there is over, not before, and goes to the longest that still fits", async () => {
    const began = driver.clock.wall();
    // 1,000 = 512 + 256 + 128 + 64, and 40 more.
    delayed(3, 0, "m", { "tally-delay": "1000", "tally-delay-group": "billing" }, "k");
    await pass(505);
    expect(driver.requests).toEqual([]);
    await pass(30);
    expect([last().topic, last().partition, ids(last())]).toEqual(["orders.delays", 2, ["m"]]);
    expect(headersOf(last().records[0]!)).toEqual({
      "tally-id": "m",
      "tally-producer": "shop",
      "tally-delay-due": String(began + 1_000),
      "tally-delay-group": "billing",
    });
    expect(Buffer.from(last().records[0]!.key!).toString()).toBe("k");
  });

  it("goes where it is due when it is, as it was: to the group's copies, or to the topic for all", async () => {
    // What a session finds is gathered for longer.
    delayed(0, 0, "first", {});
    await pass(300);
    taken(driver.requests.shift()!);
    await pass(20);
    const due = String(driver.clock.wall() + 100);
    delayed(0, 1, "one", { "tally-delay-due": due, "tally-delay-group": "billing", tenant: "acme" });
    delayed(0, 2, "all", { "tally-delay-due": due });
    await pass(99);
    expect(driver.requests).toEqual([]);
    await pass(10);
    expect(driver.requests.map((r) => [r.topic, ids(r)])).toEqual([
      ["orders.billing.copies", ["one"]],
      ["orders", ["all"]],
    ]);
    expect(headersOf(driver.requests[0]!.records[0]!)).toEqual({
      "tally-id": "one",
      "tally-producer": "shop",
      tenant: "acme",
    });
  });

  it("for a group that nobody here has met has its topic made", async () => {
    delayed(0, 0, "m", { "tally-delay-group": "unheard" });
    await pass(400);
    expect(last().topic).toBe("orders.unheard.copies");
    expect(driver.made.map(({ name }) => name)).toContain("orders.unheard.copies");
  });

  it("by an hour, many times over, does not hold up what is delayed by a second and comes after it", async () => {
    for (let n = 0; n < 5_000; n++) delayed(15, n, `hour-${n}`, { "tally-delay": String(HOUR) });
    await pass(300);
    delayed(3, 0, "second", { "tally-delay": "1000" });
    await pass(520);
    expect(driver.requests.map(ids)).toEqual([["second"]]);
  });

  it("outlives a jump of the clock: what became due by it goes within a minute", async () => {
    delayed(15, 0, "m", { "tally-delay": String(HOUR) });
    await pass(300);
    driver.clock.jumpWall(2 * HOUR);
    await pass(60_000);
    expect([last().topic, ids(last())]).toEqual(["orders", ["m"]]);
  });
});

describe("what is due at once", () => {
  it("leaves in the order in which it was due, whichever steps it lies in", async () => {
    const now = driver.clock.wall();
    delayed(0, 0, "late", { "tally-delay-due": String(now - 10) }, "k");
    delayed(3, 0, "early", { "tally-delay-due": String(now - 1_000) }, "k");
    await pass(400);
    expect(driver.requests.map(ids)).toEqual([["early", "late"]]);
  });

  it("and is more than a request may hold goes in several, one after the other", async () => {
    await transport[Symbol.asyncDispose]();
    driver = new FakeDriver();
    transport = driver.transport({ batchBytes: 3 });
    await transport.admin.declare([ORDERS], SIGNAL);
    await transport.admin.declareDelays(ORDERS, HOUR, SIGNAL);
    await turns();
    for (const [offset, id] of ["a", "b", "c"].entries()) delayed(0, offset, id, { "tally-delay": "0" }, "k");
    await pass(400);
    for (const id of ["a", "b", "c"]) {
      expect(ids(last())).toEqual([id]);
      taken(last());
      await pass(20);
    }
    expect(driver.requests).toHaveLength(3);
  });
});

describe("a hop", () => {
  const due = { "tally-delay": "0" };

  it("is committed when the broker has the message in its next place, and not before", async () => {
    delayed(0, 7, "m", due);
    await pass(300);
    expect(ids(last())).toEqual(["m"]);
    expect(committed(0)).toBeUndefined();
    taken(last());
    await pass(20);
    expect(committed(0)).toBe(8);
  });

  it.each([
    ["an empty answer", (request: Request) => request.answer([])],
    ["an answer without an offset", (r: Request) => r.answer([{ partition: r.partition, errorCode: 0, offset: null }])],
    ["an answer for another partition", (r: Request) => r.answer([{ partition: 99, errorCode: 0, offset: 1 }])],
    ["a rejection", (request: Request) => request.fail(new SendFailure(3, new Error("REQUEST_TIMED_OUT")))],
  ])("that ended with %s is made again, by another producer, and said once", async (_what, end) => {
    delayed(0, 7, "m", due);
    await pass(300);
    const before = last();
    end(before);
    await pass(1_000);
    expect(driver.requests).toHaveLength(2);
    expect(last().producer).not.toBe(before.producer);
    expect(driver.closed).toContain(before.producer);
    end(last());
    await pass(1_000);
    expect(committed(0)).toBeUndefined();
    expect(surfaced).toHaveLength(1);
    expect(surfaced[0]).toMatch(/what is delayed of orders cannot be sent on now/);
    taken(last());
    await pass(20);
    expect(committed(0)).toBe(8);
  });

  it.each(["MESSAGE_TOO_LARGE", "INVALID_RECORD"])(
    "that the broker does not take for one of its messages (%s) is made in halves: the others go on",
    async (type) => {
      const refused = new SendFailure(1, Object.assign(new Error(type), { type }));
      for (const [offset, id] of ["a", "b", "bad", "c"].entries()) delayed(0, offset, id, due, "k");
      await pass(300);
      for (let n = 0; n < driver.requests.length; n++) {
        const request = driver.requests[n]!;
        if (ids(request).includes("bad")) request.fail(refused);
        else taken(request);
        await turns();
      }
      await pass(20);
      expect(driver.requests.map((request) => ids(request).join())).toEqual(["a,b,bad,c", "a,b", "bad,c", "bad", "c"]);
      expect(committed(0)).toBe(2);
      expect(surfaced).toHaveLength(1);
      // It stays where it is, and is tried again: the topic may take it when a person has looked.
      await pass(1_000);
      expect(ids(last())).toEqual(["bad"]);
      taken(last());
      await pass(20);
      expect(committed(0)).toBe(4);
    },
  );

  it("that was on its way when the process was killed is made again by whoever has the step: no commit says otherwise", async () => {
    delayed(0, 7, "m", due);
    await pass(300);
    forwarder().events.crashed(new Error("gone"));
    await pass(15_000);
    expect(driver.committed.get("orders.delays/0")).toBeUndefined();
    const seeks = forwarder().journal.filter((line) => line.startsWith("seek orders.delays/0"));
    expect(seeks).toEqual(["seek orders.delays/0 0"]);
  });

  it("is not made of a step that has gone to another process", async () => {
    delayed(4, 7, "m", { "tally-delay": "2000" });
    await pass(300);
    forwarder().events.joined(new Map([["orders.delays", [0, 1, 2, 3]]]));
    await pass(5_000);
    expect(driver.requests).toEqual([]);
  });

  it("to a topic that is not there holds up none to another, and is said", async () => {
    await transport[Symbol.asyncDispose]();
    driver = new FakeDriver();
    for (const name of ["orders.delays", "orders", "orders.billing.copies"]) driver.partitions.set(name, 25);
    transport = driver.transport({ declare: "passive" });
    const events = { surfaced: (what: string): void => void surfaced.push(what), retired: () => {}, lost: () => {} };
    await transport.openSender({ ...events, blocked: () => {}, unblocked: () => {} }, SIGNAL);
    await transport.admin.declareDelays(ORDERS, HOUR, SIGNAL);
    await turns();
    delayed(0, 0, "gone", { "tally-delay-group": "gone" });
    delayed(0, 1, "there", { "tally-delay-group": "billing" });
    await pass(1_000);
    expect(ids(driver.requests[0]!)).toEqual(["there"]);
    taken(driver.requests[0]!);
    await pass(1_000);
    expect(surfaced.join()).toMatch(/"orders\.gone\.copies" is not there/);
    expect(committed(0)).toBe(0);
  });
});

describe("who forwards", () => {
  it("a topic that is not delayed has no topic for it, and nobody", async () => {
    const other = new FakeDriver();
    const mine = other.transport();
    await mine.admin.declare([ORDERS], SIGNAL);
    await mine.openReceiver({ topic: ORDERS, group: "billing", credit: 10, consumer: "c" }, DEAF, SIGNAL);
    await other.clock.advance(100);
    expect(other.members).toHaveLength(1);
    expect(other.made.map(({ name }) => name)).toEqual(["orders", "orders.billing.copies"]);
    // Another process begins to delay: those who consume see to it that its messages go on, also without it.
    other.partitions.set("orders.delays", 25);
    for (let n = 0; n < 7; n++) {
      for (const member of other.members) member.events.alive();
      await other.clock.advance(5_000);
    }
    expect(other.members.map(({ plan: { group, topics } }) => ({ group, topics }))).toEqual([
      { group: "orders.billing", topics: ["orders", "orders.billing.copies"] },
      { group: "orders.delays.forwarders", topics: ["orders.delays"] },
    ]);
    await mine[Symbol.asyncDispose]();
    await turns();
    expect(other.clock.pending()).toBe(0);
  });

  it("is one member a process, however often it is declared; it leaves with the transport, and what it forwarded is let go of", async () => {
    await transport.admin.declareDelays(ORDERS, 1, SIGNAL);
    expect(driver.members).toHaveLength(1);
    delayed(0, 7, "m", { "tally-delay": "0" });
    await pass(300);
    taken(last());
    await pass(20);
    const closing = transport[Symbol.asyncDispose]();
    await pass(100);
    await closing;
    expect(forwarder().journal.at(-1)).toBe("close");
    expect(driver.forgotten).toEqual(["orders.delays/0 8"]);
  });

  it("leaves also when the broker does not answer what is on its way: its producer is closed, and repeats nothing", async () => {
    delayed(0, 7, "m", { "tally-delay": "0" });
    await pass(300);
    const request = last();
    const closing = transport[Symbol.asyncDispose]();
    await pass(1_000);
    // It may still be answered, and then it is committed.
    expect(driver.closed).not.toContain(request.producer);
    await pass(2_000);
    expect(driver.closed).toContain(request.producer);
    request.fail(new SendFailure(1, new Error("closed")));
    await closing;
    expect([surfaced, driver.clock.pending()]).toEqual([[], 0]);
  });

  it("the topic for delays: a partition a step, the broker's time, kept until let go of", () => {
    const made = driver.made.find(({ name }) => name === "orders.delays");
    expect(made).toMatchObject({
      partitions: 25,
      replicationFactor: 3,
      config: {
        "retention.ms": "-1",
        "message.timestamp.type": "LogAppendTime",
        "min.insync.replicas": "2",
        "unclean.leader.election.enable": "false",
      },
    });
  });
});
