import { describe, expect, test } from "vitest";
import { release } from "../../src/consume/rulings.ts";
import { topic } from "../../src/topic.ts";
import { bench, settle } from "../support/receiving.ts";

const orders = topic<{ id: string | null }>("orders", { key: () => "", ordered: true, groups: ["audit"] });
const bills = topic<{ id: string | null }>("bills");
const fail = (): never => {
  throw new Error("declined");
};

describe("an ordered key whose delivery is released", () => {
  test("takes what is in hand behind it along, in order; another key is not touched", async () => {
    const b = bench();
    const seen: (string | null)[] = [];
    await b
      .consumer({ onError: () => release({ after: 100 }) })
      .on(orders, (_body, { id }) => {
        seen.push(id);
        if (id === "m1") fail();
      })
      .start();
    b.receiver.deliver(
      { id: "m1", key: "k" },
      { id: "x1", key: "other" },
      { id: "m2", key: "k" },
      { id: "m3", key: "k" },
    );
    await b.clock.advance(100);
    expect(seen).toEqual(["m1", "x1"]);
    expect(b.receiver.settled).toEqual(["ack x1", "release m1", "release m2", "release m3"]);
    expect(b.of("released").map(({ id }) => id)).toEqual(["m1", "m2", "m3"]);
  });

  test("turns back what was on its way when it left, until it has come again", async () => {
    const b = bench();
    const seen: (string | null)[] = [];
    let fails = true;
    await b
      .consumer({ onError: () => release({ after: 1 }) })
      .on(orders, (_body, { id }) => {
        seen.push(id);
        if (fails) fail();
      })
      .start();
    b.receiver.deliver({ id: "m1", key: "k" });
    await b.clock.advance(1);
    fails = false;
    b.receiver.deliver({ id: "m2", key: "k" });
    await settle();
    expect(b.receiver.settled).toEqual(["release m1", "release m2"]);
    b.receiver.deliver({ id: "m1", key: "k", count: 2 });
    b.receiver.deliver({ id: "m3", key: "k" }); // sent before the broker had the release of m2
    await settle();
    b.receiver.deliver({ id: "m2", key: "k", count: 2 }, { id: "m3", key: "k", count: 2 }, { id: "m4", key: "k" });
    expect(seen).toEqual(["m1", "m1", "m2", "m3", "m4"]);
  });

  test("turns back a second publication of one that is away too: it is not the one that comes back", async () => {
    const b = bench();
    const seen: (string | null)[] = [];
    let fails = true;
    await b
      .consumer({ onError: () => release({ after: 1 }) })
      .on(orders, (_body, { id }) => {
        seen.push(id);
        if (fails) fail();
      })
      .start();
    b.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" });
    await b.clock.advance(1);
    fails = false;
    b.receiver.deliver({ id: "m2", key: "k", count: 1 }); // on its way when they left
    await settle();
    expect(seen).toEqual(["m1"]);
    b.receiver.deliver(
      { id: "m1", key: "k", count: 2 },
      { id: "m2", key: "k", count: 2 },
      { id: "m2", key: "k", count: 2 },
    );
    await settle();
    expect(seen).toEqual(["m1", "m1", "m2", "m2"]);
  });

  test("once acked, a second copy of it has no place before the others", async () => {
    const b = bench();
    const seen: (string | null)[] = [];
    let fails = true;
    await b
      .consumer({ onError: () => release({ after: 1 }) })
      .on(orders, (_body, { id }) => {
        seen.push(id);
        if (fails) fail();
      })
      .start();
    b.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" });
    await b.clock.advance(1);
    fails = false;
    b.receiver.deliver({ id: "m1", key: "k", count: 2 });
    b.receiver.deliver({ id: "m1", key: "k" }); // the publisher's resend, behind m2 in the queue
    b.receiver.deliver({ id: "m2", key: "k", count: 2 });
    expect(seen).toEqual(["m1", "m1", "m2"]);
  });

  test("that went to another consumer is not waited for: the first that comes back proves it", async () => {
    const b = bench();
    const seen: (string | null)[] = [];
    let fails = true;
    await b
      .consumer({ onError: () => release({ after: 1 }) })
      .on(orders, (_body, { id }) => {
        seen.push(id);
        if (fails) fail();
      })
      .start();
    b.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" });
    await b.clock.advance(1);
    fails = false;
    b.receiver.deliver({ id: "m2", key: "k", count: 2 }, { id: "m3", key: "k" });
    expect(seen).toEqual(["m1", "m2", "m3"]);
  });

  test("is forgotten after a minute, so that a key whose head went elsewhere goes on", async () => {
    const b = bench();
    const seen: (string | null)[] = [];
    let fails = true;
    await b
      .consumer({ onError: () => release({ after: 1 }) })
      .on(orders, (_body, { id }) => {
        seen.push(id);
        if (fails) fail();
      })
      .start();
    b.receiver.deliver({ id: "m1", key: "k" });
    await b.clock.advance(60_001);
    fails = false;
    b.receiver.deliver({ id: "m9", key: "k" });
    expect(seen).toEqual(["m1", "m9"]);
  });

  test("keys of a topic that is not ordered go on meanwhile", async () => {
    const b = bench();
    await b
      .consumer({ onError: () => release({ after: 100 }) })
      .on(bills, (_body, { id }) => (id === "m1" ? fail() : undefined))
      .start();
    b.receiver.deliver({ id: "m1", key: "k" }, { id: "m2", key: "k" });
    await b.clock.advance(100);
    expect(b.receiver.settled).toEqual(["release m1", "ack m2"]);
  });
});
