import { describe, expect, test } from "vitest";
import { topic } from "../../src/topic.ts";
import { bench } from "../support/receiving.ts";

const orders = topic<{ id: string | null }>("orders");

describe("foreign messages", () => {
  test("without id and place run, and are surfaced once a subscription", async () => {
    const b = bench();
    const seen: (string | null)[] = [];
    await b
      .consumer()
      .on(orders, (_body, { id }) => void seen.push(id))
      .on(topic("bills"), () => {})
      .start();
    const [first, second] = b.transport.receivers;
    first!.deliver({}, {});
    first!.deliver({});
    second!.deliver({ place: "0/17" });
    expect(seen).toEqual([null, null, null]);
    expect(b.of("unidentified")).toMatchObject([{ topic: "orders", group: "billing" }]);
  });

  test("get their id from the consumer's function; it is asked only for them", async () => {
    const b = bench();
    const seen: (string | null)[] = [];
    await b
      .consumer({ id: (m) => `from-${m.headers["x-number"]}` })
      .on(orders, (_body, { id }) => void seen.push(id))
      .start();
    b.receiver.deliver({ headers: { "x-number": "7" } }, { id: "own" });
    expect(seen).toEqual(["from-7", "own"]);
    expect(b.of("unidentified")).toEqual([]);
  });

  test.each([
    [
      "throws",
      () => {
        throw new Error("no number");
      },
    ],
    ["gives no string", () => undefined as unknown as string],
  ])("whose id function %s are released as unreadable", async (_what, id) => {
    const b = bench();
    await b
      .consumer({ id })
      .on(orders, () => {})
      .start();
    b.receiver.deliver({});
    await b.clock.advance(10_000);
    expect(b.receiver.settled).toEqual(["release 1"]);
    expect(b.of("attempt-failed")).toMatchObject([{ error: { code: "decode" } }]);
  });
});
