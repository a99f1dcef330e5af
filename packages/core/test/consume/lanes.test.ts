import { describe, expect, test } from "vitest";
import { topic } from "../../src/topic.ts";
import { bench, settle } from "../support/receiving.ts";

const orders = topic<{ id: string | null }>("orders");
const bills = topic<{ id: string | null }>("bills", { key: () => "", ordered: true });

describe("lanes", () => {
  test("bound how many handlers run at once over all topics, and each free one is used at once", async () => {
    const b = bench();
    const gates = new Map<string | null, () => void>();
    const handler = (_body: unknown, { id }: { readonly id: string | null }): Promise<void> =>
      new Promise((resolve) => gates.set(id, resolve));
    await b.consumer({ lanes: 3 }).on(orders, handler).on(bills, handler).start();
    const [first, second] = b.transport.receivers;
    first!.deliver({ id: "o1" }, { id: "o2" });
    second!.deliver({ id: "b1" }, { id: "b2" });
    expect([...gates.keys()]).toEqual(["o1", "o2", "b1"]);
    gates.get("o2")!();
    await settle();
    expect([...gates.keys()]).toEqual(["o1", "o2", "b1", "b2"]);
  });

  test("a key's deliveries follow one another, in a topic that is not ordered too; keys of two topics are two", async () => {
    const b = bench();
    const gates = new Map<string | null, () => void>();
    const handler = (_body: unknown, { id }: { readonly id: string | null }): Promise<void> =>
      new Promise((resolve) => gates.set(id, resolve));
    await b.consumer().on(orders, handler).on(bills, handler).start();
    for (const receiver of b.transport.receivers)
      receiver.deliver({ id: `${receiver.epoch}.1`, key: "k" }, { id: `${receiver.epoch}.2`, key: "k" });
    expect([...gates.keys()]).toEqual(["1.1", "2.1"]);
    gates.get("1.1")!();
    await settle();
    expect([...gates.keys()]).toEqual(["1.1", "2.1", "1.2"]);
  });
});

describe("pause()", () => {
  test("starts no handler until resume(), an attempt in place included; those running finish and are settled", async () => {
    const b = bench();
    const gate = Promise.withResolvers<void>();
    const seen: string[] = [];
    const consumer = await b
      .consumer({ lanes: 2, retryMin: 1, retryMax: 1 })
      .on(orders, async (_body, { id, attempt }) => {
        seen.push(`${id}.${attempt}`);
        if (id === "m1") await gate.promise;
        else if (attempt === 1) throw new Error("once");
      })
      .start();
    b.receiver.deliver({ id: "m1" }, { id: "m2" });
    consumer.pause();
    b.receiver.deliver({ id: "m3" });
    gate.resolve();
    await b.clock.advance(1_000);
    expect(seen).toEqual(["m1.1", "m2.1"]);
    expect(b.receiver.settled).toEqual(["ack m1"]);
    consumer.resume();
    await b.clock.advance(1_000);
    expect(seen).toEqual(["m1.1", "m2.1", "m2.2", "m3.1", "m3.2"]);
  });
});
