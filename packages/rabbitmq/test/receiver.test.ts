import { describe, expect, it } from "vitest";
import { ORDERS, signal, Stage } from "./stage.ts";

const settle = (): Promise<void> => new Promise((resolve) => setTimeout(resolve, 20));

/** Delivers so many as soon as somebody consumes. */
function delivering(count: number): NonNullable<Parameters<typeof Stage.open>[0]> {
  return {
    onConsume({ tag }, channel) {
      for (let i = 1; i <= count; i++)
        channel.deliver({ consumerTag: tag, properties: { messageId: `m${i}` }, body: `${i}` });
    },
  };
}

describe("receiving", () => {
  it("prefetch is the credit, for the consumer and not for the channel; acks are manual", async () => {
    await using stage = await Stage.open({});
    await stage.receiver({ credit: 7 });
    expect(stage.server.methods("basic.qos").map((m) => [m.args["prefetchCount"], m.args["global"]])).toEqual([
      [7, false],
    ]);
    expect(
      stage.server.methods("basic.consume").map((m) => [m.args["queue"], m.args["noAck"], m.args["consumerTag"]]),
    ).toEqual([["orders.billing", false, "c1"]]);
  });

  it("a credit beyond the protocol's 16 bits is the largest there is, never 'no limit'", async () => {
    await using stage = await Stage.open({});
    await stage.receiver({ credit: 70_000 });
    expect(stage.server.methods("basic.qos")[0]!.args["prefetchCount"]).toBe(65_535);
  });

  it("deliveries of one read of the socket come as one batch, in order", async () => {
    await using stage = await Stage.open(delivering(20));
    const receiving = await stage.receiver();
    await receiving.first(20);
    expect(receiving.deliveries.map((d) => d.message.id)).toEqual(Array.from({ length: 20 }, (_, i) => `m${i + 1}`));
    expect(receiving.batches.length).toBeLessThan(20);
  });

  it("a release goes back to the queue at once, alone", async () => {
    await using stage = await Stage.open(delivering(3));
    const receiving = await stage.receiver();
    const [one, two] = await receiving.first(3);
    receiving.release(two!);
    receiving.ack(one!);
    await stage.server.waitFor((s) => s.settlements.length === 2);
    expect(stage.server.settlements.map((s) => [s.kind, s.tag, s.multiple, s.requeue])).toEqual([
      ["nack", 2, false, true],
      ["ack", 1, true, false],
    ]);
  });

  it("settling twice, both ways, and with an earlier session's delivery says nothing to the broker", async () => {
    await using stage = await Stage.open(delivering(2));
    const first = await stage.receiver();
    const [old] = await first.first(2);
    await first.port[Symbol.asyncDispose]();
    const second = await stage.receiver();
    const [one, two] = await second.first(2);
    first.ack(old!);
    second.ack(old!);
    second.release(old!);
    await settle();
    expect(stage.server.settlements).toEqual([]);
    second.release(two!);
    second.ack(two!, one!);
    second.release(one!);
    await stage.server.waitFor((s) => s.settlements.length === 2);
    await settle();
    expect(stage.server.settlements.map((s) => [s.kind, s.tag])).toEqual([
      ["nack", 2],
      ["ack", 1],
    ]);
    expect(second.lostWith).toEqual([]);
  });

  it("extend is true as long as the delivery is this session's and unsettled", async () => {
    await using stage = await Stage.open(delivering(2));
    const receiving = await stage.receiver();
    const [one, two] = await receiving.first(2);
    receiving.ack(two!);
    expect(await receiving.port.extend(one!, 1_000)).toBe(true);
    expect(await receiving.port.extend(two!, 1_000)).toBe(false);
    stage.server.connection.drop();
    await receiving.until("the loss", () => receiving.lostWith.length > 0);
    expect(await receiving.port.extend(one!, 1_000)).toBe(false);
  });

  it("the count is the broker's plus one; without it 1, and null for a redelivery", async () => {
    await using stage = await Stage.open({
      onConsume({ tag }, channel) {
        channel.deliver({ consumerTag: tag });
        channel.deliver({ consumerTag: tag, redelivered: true });
        channel.deliver({
          consumerTag: tag,
          redelivered: true,
          properties: { headers: { "x-delivery-count": 4, a: "b" } },
        });
        channel.deliver({
          consumerTag: tag,
          redelivered: true,
          properties: { headers: { "x-delivery-count": "many" } },
        });
      },
    });
    const receiving = await stage.receiver();
    const deliveries = await receiving.first(4);
    expect(deliveries.map((d) => d.count)).toEqual([1, null, 5, null]);
    expect({ ...deliveries[2]!.message.headers }).toEqual({ a: "b" });
  });
});

describe("pause, stop and dispose", () => {
  it("a pause holds what comes, and a resume hands it over in order", async () => {
    let tag = "";
    await using stage = await Stage.open({ onConsume: (consumer) => void (tag = consumer.tag) });
    const receiving = await stage.receiver();
    receiving.port.pause(0);
    for (let i = 1; i <= 3; i++) stage.server.channel.deliver({ consumerTag: tag, body: `${i}` });
    await settle();
    expect(receiving.deliveries).toEqual([]);
    expect(stage.server.methods("basic.cancel")).toEqual([]);
    receiving.port.resume(0);
    const deliveries = await receiving.first(3);
    expect(deliveries.map((d) => Buffer.from(d.message.body).toString())).toEqual(["1", "2", "3"]);
  });

  describe("delivery after cancel: ignored", () => {
    it("stop resolves when the last delivery is in; settling goes on; what crosses it is left alone", async () => {
      await using stage = await Stage.open({
        onMethod(method, _connection, channel) {
          if (method.name !== "basic.cancel") return;
          // Sent before the answer: it was on its way. And one after it, which no broker should send.
          channel!.deliver({ consumerTag: "c1", properties: { messageId: "crossed" } });
          channel!.send("basic.cancel-ok", { consumerTag: "c1" });
          return "handled";
        },
      });
      const receiving = await stage.receiver();
      await receiving.port.stop();
      expect(receiving.deliveries.map((d) => d.message.id)).toContain("crossed");
      stage.server.channel.deliver({ consumerTag: "c1", properties: { messageId: "after" } });
      await settle();
      expect(receiving.deliveries).toHaveLength(1);
      const crossed = receiving.deliveries[0]!;
      receiving.ack(crossed);
      await stage.server.waitFor((s) => s.settlements.length > 0);
      await settle();
      expect(stage.server.settlements.map((s) => s.tag)).toEqual([1]);
      expect(receiving.lostWith).toEqual([]);
    });
  });

  it("what a pause held goes back when the receiver stops", async () => {
    let tag = "";
    await using stage = await Stage.open({ onConsume: (consumer) => void (tag = consumer.tag) });
    const receiving = await stage.receiver();
    receiving.port.pause(0);
    for (let i = 1; i <= 2; i++) stage.server.channel.deliver({ consumerTag: tag });
    await settle();
    await receiving.port.stop();
    await stage.server.waitFor((s) => s.settlements.length === 2);
    expect(stage.server.settlements.map((s) => [s.kind, s.requeue])).toEqual([
      ["nack", true],
      ["nack", true],
    ]);
    expect(receiving.deliveries).toEqual([]);
  });

  it("an ordered topic's consumer is never cancelled: stop leaves alone what still comes, dispose closes", async () => {
    let tag = "";
    await using stage = await Stage.open({ onConsume: (consumer) => void (tag = consumer.tag) });
    const receiving = await stage.receiver({ plan: { ...ORDERS, ordered: true } });
    const { channel } = stage.server;
    channel.deliver({ consumerTag: tag, properties: { messageId: "before" } });
    const [before] = await receiving.first(1);
    await receiving.port.stop();
    channel.deliver({ consumerTag: tag, properties: { messageId: "after" } });
    receiving.ack(before!);
    await stage.server.waitFor((s) => s.settlements.length > 0);
    await settle();
    await receiving.port[Symbol.asyncDispose]();
    expect(receiving.deliveries).toHaveLength(1);
    expect(stage.server.settlements.map((s) => [s.kind, s.tag])).toEqual([["ack", 1]]);
    expect(stage.server.methods("basic.cancel")).toEqual([]);
  });

  it("dispose acks what is settled, first of all, and resolves when the broker has taken it", async () => {
    await using stage = await Stage.open(delivering(5));
    const receiving = await stage.receiver();
    const deliveries = await receiving.first(5);
    receiving.ack(deliveries[0]!, deliveries[1]!, deliveries[4]!);
    await receiving.port[Symbol.asyncDispose]();
    expect(stage.server.settlements.map((s) => [s.tag, s.multiple])).toEqual([
      [2, true],
      [5, false],
    ]);
    const order = stage.server.received.flatMap((r) =>
      r.kind === "ack" ? ["ack"] : r.kind === "method" && r.name === "channel.close" ? ["close"] : [],
    );
    expect(order.lastIndexOf("ack")).toBeLessThan(order.lastIndexOf("close"));
    expect(receiving.lostWith).toEqual([]);
  });
});

describe("the end of a receiving session", () => {
  it("a consumer cancelled by the broker (a deleted queue) is lost", async () => {
    await using stage = await Stage.open({ onConsume: ({ tag }, channel) => channel.cancel(tag) });
    const receiving = await stage.receiver();
    await receiving.until("the loss", () => receiving.lostWith.length > 0);
    expect(receiving.lostWith[0]).toMatchObject({
      code: "session-lost",
      retryable: true,
      message: expect.stringContaining("orders.billing") as string,
    });
  });

  it("a channel closed for a slow handler is lost, once", async () => {
    await using stage = await Stage.open({
      onConsume: (_, channel) =>
        channel.close(406, "PRECONDITION_FAILED - delivery acknowledgement on channel 1 timed out", "basic.ack"),
    });
    const receiving = await stage.receiver();
    await receiving.until("the loss", () => receiving.lostWith.length > 0);
    await settle();
    expect(receiving.lostWith.map((e) => e.code)).toEqual(["session-lost"]);
    expect(receiving.lostWith[0]!.message).toContain("timed out");
  });

  it("deliveries that came before the end are told before it", async () => {
    await using stage = await Stage.open({
      onConsume({ tag }, channel) {
        for (let i = 0; i < 3; i++) channel.deliver({ consumerTag: tag });
        channel.cancel(tag);
      },
    });
    const receiving = await stage.receiver();
    await receiving.until("the loss", () => receiving.lostWith.length > 0);
    expect(receiving.deliveries).toHaveLength(3);
  });

  it("an ack that waited for its tick when the session ended is unsettled", async () => {
    await using stage = await Stage.open(delivering(2));
    const receiving = await stage.receiver();
    const [, two] = await receiving.first(2);
    // Behind an unfinished tag: it waits. The end of the channel is already in this process, unread.
    receiving.ack(two!);
    stage.server.channel.close(406, "PRECONDITION_FAILED - by the test");
    await receiving.until("the loss", () => receiving.lostWith.length > 0);
    const acked = stage.server.settlements.length > 0;
    expect(receiving.unsettledOnes).toEqual(acked ? [] : [two]);
    receiving.ack(two!);
    await settle();
    expect(receiving.lostWith).toHaveLength(1);
  });

  it("an opening that is given up leaves no consumer behind", async () => {
    await using stage = await Stage.open({
      onMethod: (method) => (method.name === "basic.consume" ? "handled" : undefined),
    });
    await expect(
      stage.transport.openReceiver(
        { topic: ORDERS, group: "billing", credit: 1, consumer: "c" },
        {
          deliver() {},
          lost() {},
          gap() {},
          revoked() {},
          unsettled() {},
          surfaced() {},
          revoking: () => Promise.resolve(),
        },
        AbortSignal.timeout(100),
      ),
    ).rejects.toThrow();
    await stage.server.waitFor((s) => s.methods("channel.close").length > 0);
    await stage.transport.admin.declare([ORDERS], signal());
  });
});
