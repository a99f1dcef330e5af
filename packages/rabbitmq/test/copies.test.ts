import { describe, expect, it } from "vitest";
import { message, ORDERS, Stage } from "./stage.ts";

describe("a copy for one group", () => {
  it("goes to that group's queue by name, past the exchange, mandatory and persistent like any other", async () => {
    await using stage = await Stage.open({}, { topics: { orders: { queues: { mail: "letters" } } } });
    const sending = await stage.sender({ ...ORDERS, groups: ["billing", "mail"] });
    sending.post([message(1, { group: "billing", attempt: 3 }), message(2, { group: "mail" }), message(3)]);
    await sending.count(3);
    expect(stage.server.publishes).toMatchObject([
      { exchange: "", routingKey: "orders.billing", mandatory: true },
      { exchange: "", routingKey: "letters", mandatory: true },
      { exchange: "orders", routingKey: "", mandatory: true },
    ]);
    expect(sending.kinds).toEqual({ m1: "accepted", m2: "accepted", m3: "accepted" });
    expect(sending.verdict("m1")).toMatchObject({ proof: { routed: "yes", persisted: "yes" } });
  });

  it("whatever raw routing the message was given: that was for all groups", async () => {
    await using stage = await Stage.open({});
    const sending = await stage.sender();
    sending.post([message(1, { group: "billing", native: { routingKey: "eu", priority: 3 } })]);
    await sending.count(1);
    expect(stage.server.publishes).toMatchObject([{ exchange: "", routingKey: "orders.billing" }]);
  });

  it("nacked, it is not stored anywhere: there is one queue", async () => {
    await using stage = await Stage.open({ onPublish: ({ tag }, channel) => channel.nack(tag) });
    const sending = await stage.sender();
    sending.post([message(1, { group: "billing" }), message(2)]);
    await sending.count(2);
    expect(sending.error("m1")).toMatchObject({ code: "later", mayArrive: false });
    expect(sending.error("m2")).toMatchObject({ code: "later", mayArrive: true });
  });

  it("returned, it is that copy which is unroutable, not another of the same id for all groups", async () => {
    await using stage = await Stage.open({
      onPublish(publish, channel) {
        if (publish.tag < 2) return;
        channel.return(publish);
        channel.ack(2, { multiple: true });
      },
    });
    const sending = await stage.sender();
    sending.post([message(1), message(1, { group: "billing" })]);
    await sending.until("both verdicts", () => sending.journal.length === 2);
    expect(sending.journal).toEqual(["m1 unroutable", "m1 accepted"]);
  });
});
