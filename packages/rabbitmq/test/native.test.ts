import { describe, expect, it } from "vitest";
import { message, ORDERS, signal, Stage } from "./stage.ts";

describe("a message with raw routing", () => {
  it("nacked behind an exchange, may be in other queues of it, also where its topic is one queue", async () => {
    await using stage = await Stage.open(
      { onPublish: ({ tag }, channel) => channel.nack(tag) },
      { topics: { orders: { queue: "work" } } },
    );
    await stage.transport.admin.declare([{ ...ORDERS, name: "events" }], signal());
    const sending = await stage.sender();
    sending.post([message(1), message(2, { native: { exchange: "events" } })]);
    await sending.count(2);
    expect(sending.error("m1")).toMatchObject({ code: "later", mayArrive: false });
    expect(sending.error("m2")).toMatchObject({ code: "later", mayArrive: true });
  });

  it("that goes where nobody here knows the queues: that it is on a disk is not vouched for", async () => {
    await using stage = await Stage.open();
    await stage.transport.admin.declare([{ ...ORDERS, name: "events", groups: [] }], signal());
    const sending = await stage.sender();
    sending.post([
      message(1),
      message(2, { native: { exchange: "events" } }),
      message(3, { native: { exchange: "", routingKey: "somebody's" } }),
      message(4, { native: { routingKey: "a fanout does not look at it", priority: 3 } }),
    ]);
    await sending.count(4);
    for (const [id, persisted] of Object.entries({ m1: "yes", m2: "unverified", m3: "unverified", m4: "yes" }))
      expect(sending.verdict(id)).toMatchObject({ kind: "accepted", proof: { routed: "yes", persisted } });
  });
});
