import { describe, expect, it } from "vitest";
import { turns } from "@tallymq/testkit";
import { came, no, ORDERED } from "./fake-driver.ts";
import { Stage } from "./receiving.ts";

const many = (n: number, from = 0): ReturnType<typeof came>[] =>
  Array.from({ length: n }, (_, i) => came(`m${from + i}`, { offset: from + i }));

describe("asking", () => {
  it("asks each topic that the group reads, for no more than there is room for", async () => {
    const stage = await new Stage().open(7);
    expect(stage.link.polls.map(({ topic, most }) => `${topic} ${most}`)).toEqual([
      "orders 7",
      "orders_later 7",
      "orders_billing_copies 7",
      "orders_halves 7",
    ]);
  });

  it("of an ordered topic asks for little at a time, and more often: a queue hands out nothing while something of it is out", async () => {
    const stage = await new Stage().open(1_000, { ...ORDERED, groups: ["g"] }, "g");
    const steps = stage.link.polls.filter(({ topic }) => topic === "steps");
    expect(steps.map(({ most }) => most)).toEqual([8, 8, 8, 8, 8, 8, 8, 8]);
    expect(stage.link.polls.filter(({ topic }) => topic === "steps_later")).toMatchObject([{ most: 32 }]);
  });

  it("hands out up to the credit, holds the rest, and goes on as acks come", async () => {
    const stage = await new Stage().open(3);
    stage.link.poll("orders").bring(...many(3));
    stage.link.poll("orders_later").bring(came("later"));
    await turns();
    expect(stage.ids).toEqual(["m0", "m1", "m2"]);
    await stage.ack("m1");
    expect(stage.ids).toEqual(["m0", "m1", "m2", "later"]);
  });

  it("asks again after a second when the proxy has no broker, and ends when it has no right to ask", async () => {
    const stage = await new Stage().open();
    stage.link.poll("orders").answer({ status: no(50_001, "connect to 10911 failed"), messages: [] });
    await turns();
    expect(stage.link.polls).toHaveLength(4);
    await stage.driver.clock.advance(1_000);
    expect(stage.link.polls).toHaveLength(5);
    stage.link.poll("orders").answer({ status: no(40_100), messages: [] });
    await turns();
    expect(stage.said.filter((line) => !line.startsWith("surfaced"))).toEqual(["lost unauthorized"]);
  });
});

describe("an ack", () => {
  it("waits for its tick, and goes with its neighbours", async () => {
    const stage = await new Stage().open();
    stage.link.poll("orders").bring(...many(4));
    await turns();
    await stage.ack("m0", "m2", "m3");
    expect(stage.link.acks).toEqual([["m0", "m2", "m3"]]);
  });

  it("whose answer does not come is unsettled", async () => {
    const stage = await new Stage().open();
    stage.link.poll("orders").bring(...many(1));
    await turns();
    stage.link.ackFailure = Object.assign(new Error("4 DEADLINE_EXCEEDED"), { code: 4 });
    await stage.ack("m0");
    expect(stage.said).toEqual(["unsettled m0: session-lost"]);
  });

  it("twice, or of another session, is a no-op", async () => {
    const stage = await new Stage().open();
    stage.link.poll("orders").bring(...many(1));
    await turns();
    await stage.ack("m0");
    await stage.ack("m0");
    stage.receiver.settle([{ kind: "ack", delivery: { ...stage.got[0]!, epoch: -1 } }]);
    await turns();
    expect(stage.link.acks).toEqual([["m0"]]);
  });
});

describe("a lease", () => {
  it("is renewed at half of the invisible time, for as long as the message is held; then acked by the newest handle", async () => {
    const stage = await new Stage().open(1);
    stage.link.poll("orders").bring(came("m0"));
    stage.link.poll("orders_later").bring(came("held"));
    await turns();
    await stage.driver.clock.advance(14_000);
    expect(stage.link.changes).toEqual([]);
    await stage.driver.clock.advance(1_000);
    expect(stage.link.changes).toEqual(["m0 30000", "held 30000"]);
    await stage.driver.clock.advance(15_000);
    expect(stage.link.changes).toEqual(["m0 30000", "held 30000", "m0' 30000", "held' 30000"]);
    await stage.ack("m0");
    expect(stage.link.acks).toEqual([["m0''"]]);
    await stage.driver.clock.advance(15_000);
    expect(stage.link.changes.filter((change) => change.startsWith("m0"))).toHaveLength(2);
  });

  it("that is being renewed is acked by the handle that comes of it", async () => {
    const stage = await new Stage().open();
    stage.link.poll("orders").bring(came("m0"));
    await turns();
    const gate = Promise.withResolvers<void>();
    stage.link.gate = gate.promise;
    await stage.driver.clock.advance(15_000);
    await stage.ack("m0");
    expect(stage.link.acks).toEqual([]);
    gate.resolve();
    await turns();
    expect(stage.link.acks).toEqual([["m0'"]]);
  });

  it("is not renewed while its ack is out: the handle that the ack names would count no more", async () => {
    const stage = await new Stage().open();
    stage.link.poll("orders").bring(came("m0"));
    await turns();
    await stage.driver.clock.advance(14_000);
    const answered = Promise.withResolvers<void>();
    const { ack } = stage.link;
    stage.link.ack = async (...given) => {
      await answered.promise;
      return await ack.apply(stage.link, given);
    };
    await stage.ack("m0");
    await stage.driver.clock.advance(1_000);
    expect(stage.link.changes).toEqual([]);
    answered.resolve();
    await turns();
    expect([stage.link.acks, stage.said]).toEqual([[["m0"]], []]);
  });

  it("can be extended while it lasts", async () => {
    const stage = await new Stage().open();
    stage.link.poll("orders").bring(came("m0"));
    await turns();
    expect(await stage.receiver.extend(stage.got[0]!, 60_000)).toBe(true);
    expect(stage.link.changes).toEqual(["m0 60000"]);
    await stage.ack("m0");
    expect(await stage.receiver.extend(stage.got[0]!, 60_000)).toBe(false);
  });
});

describe("a release", () => {
  it("makes the message invisible for the time that core says, and at least a millisecond", async () => {
    const stage = await new Stage().open();
    stage.link.poll("orders").bring(...many(2));
    await turns();
    await stage.release(5_000, "m0");
    await stage.release(0, "m1");
    expect(stage.link.changes).toEqual(["m0 5000", "m1 1"]);
    expect(stage.said).toEqual([]);
  });

  it("that the broker does not take, its handle having expired, is unsettled", async () => {
    const stage = await new Stage().open();
    stage.link.poll("orders").bring(...many(1));
    await turns();
    stage.link.changed = no(40_013);
    await stage.release(5_000, "m0");
    expect(stage.said).toEqual(["unsettled m0: topology"]);
  });
});

describe("what is delayed", () => {
  it("is held until its time has come, those whose time came first going first", async () => {
    const stage = await new Stage().open();
    const due = (id: string, ms: number): ReturnType<typeof came> =>
      came(id, {
        properties: new Map([
          ["tally-id", id],
          ["tally-due", String(stage.driver.clock.wall() + ms)],
        ]),
      });
    stage.link.poll("orders_later").bring(due("c", 900), due("b", 300), due("a", 200));
    await turns();
    expect(stage.ids).toEqual([]);
    await stage.driver.clock.advance(299);
    expect(stage.ids).toEqual(["a"]);
    await stage.driver.clock.advance(1);
    expect(stage.ids).toEqual(["a", "b"]);
    await stage.driver.clock.advance(600);
    expect(stage.ids).toEqual(["a", "b", "c"]);
    stage.link.poll("orders_later").bring(due("e", -100), due("d", -200));
    await turns();
    expect(stage.ids).toEqual(["a", "b", "c", "d", "e"]);
  });
});

it("what says that it is due in the year 5000 sets no timer that is longer than timers can be", async () => {
  const stage = new Stage();
  const { clock } = stage.driver;
  const { after } = clock;
  const longest: number[] = [];
  clock.after = (ms, fn) => {
    longest.push(ms);
    return after.call(clock, Math.min(ms, 2 ** 31 - 1), fn);
  };
  await stage.open();
  const properties = new Map([
    ["tally-id", "m"],
    ["tally-due", "95617584000000"],
  ]);
  stage.link.poll("orders_later").bring(came("m", { properties }));
  await turns();
  expect(stage.ids).toEqual([]);
  // One more and Node fires it at once: round and round, a thousand times a second.
  expect(Math.max(...longest)).toBeLessThanOrEqual(2 ** 31 - 1);
});

describe("leaving", () => {
  it("ends its own requests first, then gives back what is out, with the acks before", async () => {
    const stage = await new Stage().open();
    stage.link.poll("orders").bring(...many(2));
    await turns();
    stage.receiver.settle([{ kind: "ack", delivery: stage.got[0]! }]);
    const leaving = stage.receiver[Symbol.asyncDispose]();
    await turns();
    expect(stage.link.acks).toEqual([["m0"]]);
    expect(stage.link.changes).toEqual([]);
    const open = stage.link.polls.slice(-4);
    for (const poll of open) poll.answer({ status: no(40_401), messages: poll === open[0] ? [came("late")] : [] });
    await leaving;
    expect(stage.link.changes.toSorted()).toEqual(["late 1", "m1 1"]);
    expect(stage.ids).toEqual(["m0", "m1"]);
    expect(stage.link.closed).toBe(1);
    expect(stage.driver.clock.pending()).toBe(0);
  });

  it("waits for nothing where nothing is out", async () => {
    const stage = await new Stage().open();
    await stage.receiver[Symbol.asyncDispose]();
    expect(stage.link.polls.every(({ aborted }) => aborted)).toBe(true);
    expect(stage.driver.clock.pending()).toBe(0);
  });

  it("a session that is lost says so once; the next one gives back what it had", async () => {
    const stage = await new Stage().open();
    stage.link.poll("orders").bring(...many(2));
    await turns();
    await stage.ack("m0");
    stage.link.events.lost(Object.assign(new Error("14 UNAVAILABLE"), { code: 14 }));
    stage.link.events.lost(new Error("again"));
    expect(stage.said).toEqual(["lost session-lost"]);
    await stage.ack("m1");
    expect(stage.link.acks).toEqual([["m0"]]);
    const next = await new Stage(stage.driver, stage.transport).open();
    expect(next.link.changes).toEqual(["m1 1"]);
  });

  it("nor is that forgotten by a next one that ends as it begins", async () => {
    const stage = await new Stage().open();
    stage.link.poll("orders").bring(...many(1));
    await turns();
    stage.link.events.lost(new Error("14 UNAVAILABLE"));
    stage.driver.dying = new Error("14 UNAVAILABLE");
    const second = await new Stage(stage.driver, stage.transport).open();
    expect([second.said, second.link.changes]).toEqual([["lost session-lost"], []]);
    await second.receiver[Symbol.asyncDispose]();
    stage.driver.dying = null;
    const third = await new Stage(stage.driver, stage.transport).open();
    expect(third.link.changes).toEqual(["m0 1"]);
  });

  it("paused, nothing is handed out, and what came is there when it goes on", async () => {
    const stage = await new Stage().open();
    stage.receiver.pause(0);
    stage.link.poll("orders").bring(...many(1));
    await turns();
    expect(stage.ids).toEqual([]);
    stage.receiver.resume(0);
    await turns();
    expect(stage.ids).toEqual(["m0"]);
  });
});
