import { expect, test } from "vitest";
import type { ConsumeMessage } from "amqplib";
import { typed } from "@tallymq/testkit/amqp-server";
import type { Delivery, Field, FieldTable, ServerChannel } from "@tallymq/testkit/amqp-server";
import { client } from "./client.ts";
import type { Client } from "./client.ts";

/** Starts a consumer and delivers; gives the messages (null: cancelled) when `n` have come. */
async function consume(
  c: Client,
  n: number,
  deliver: (channel: ServerChannel, tag: string) => void,
): Promise<(ConsumeMessage | null)[]> {
  const got: (ConsumeMessage | null)[] = [];
  return new Promise((resolve, reject) => {
    c.server.script = { ...c.server.script, onConsume: ({ tag }, channel) => deliver(channel, tag) };
    c.channel
      .consume("q", (message) => void (got.push(message) === n && resolve(got)), { consumerTag: "ct" })
      .catch(reject);
  });
}
const one = async (delivery: Partial<Delivery>): Promise<ConsumeMessage> => {
  await using c = await client();
  const [message] = await consume(c, 1, (channel, consumerTag) => void channel.deliver({ consumerTag, ...delivery }));
  return message!;
};

test("a delivery arrives with its properties, headers and body", async () => {
  const message = await one({
    redelivered: true,
    exchange: "x",
    routingKey: "rk",
    body: Buffer.alloc(300_000, 1),
    properties: {
      messageId: "m",
      deliveryMode: 2,
      timestamp: 5,
      headers: {
        s: "☃",
        n: -1,
        d: 0.5,
        l: 2 ** 40,
        t: false,
        v: null,
        a: [1, { b: [] }],
        f: { g: "h" },
        x: Buffer.from([9]),
      },
    },
  });
  expect(message.fields).toMatchObject({
    consumerTag: "ct",
    deliveryTag: 1,
    redelivered: true,
    exchange: "x",
    routingKey: "rk",
  });
  expect(message.properties).toMatchObject({ messageId: "m", deliveryMode: 2, timestamp: 5 });
  expect(message.properties.headers).toEqual({
    s: "☃",
    n: -1,
    d: 0.5,
    l: 2 ** 40,
    t: false,
    v: null,
    a: [1, { b: [] }],
    f: { g: "h" },
    x: Buffer.from([9]),
  });
  expect(message.content.equals(Buffer.alloc(300_000, 1))).toBe(true);
});

test("a delivery may have no properties at all and no body", async () => {
  const message = await one({});
  expect(message.content).toHaveLength(0);
  expect(Object.values(message.properties).every((value) => value === undefined)).toBe(true);
});

test("a header __proto__ stands on the wire: amqplib's headers take it as their prototype", async () => {
  const headers: FieldTable = new Map<string, Field>([
    ["__proto__", { isAdmin: true }],
    ["constructor", "c"],
  ]);
  const { properties } = await one({ properties: { headers } });
  expect((properties.headers as { isAdmin?: boolean }).isAdmin).toBe(true);
  expect(Object.keys(properties.headers!)).toEqual(["constructor"]);
});

test("a header may claim any type: spoofed numbers, floats beyond reason, unsigned, decimals, times", async () => {
  const { properties } = await one({
    properties: {
      headers: {
        attempt: -1,
        float: typed("d", 1e308),
        unsigned: typed("i", 4294967295),
        byte: typed("B", 255),
        short: typed("s", -2),
        small: typed("f", 0.5),
        decimal: typed("D", { places: 2, digits: 314 }),
        at: new Date(7000),
        long: 2n ** 62n,
      },
    },
  });
  expect(properties.headers).toEqual({
    attempt: -1,
    float: 1e308,
    unsigned: 4294967295,
    byte: 255,
    short: -2,
    small: 0.5,
    long: 2 ** 62,
    decimal: { "!": "decimal", value: { places: 2, digits: 314 } },
    at: { "!": "timestamp", value: 7 },
  });
});

test("a delivery has any tag, and may come twice", async () => {
  await using c = await client();
  const got = await consume(c, 3, (channel, consumerTag) => {
    channel.deliver({ consumerTag, tag: 2 ** 40 });
    channel.deliver({ consumerTag, tag: 5 });
    channel.deliver({ consumerTag, tag: 5 });
  });
  expect(got.map((message) => message!.fields.deliveryTag)).toEqual([2 ** 40, 5, 5]);
});

test("a cancel by the server gives null, and a delivery after it still goes out", async () => {
  await using c = await client();
  const got = await consume(c, 1, (channel, consumerTag) => {
    channel.cancel(consumerTag);
    channel.deliver({ consumerTag, body: "late" });
  });
  expect(got).toEqual([null]);
  // amqplib takes a delivery for a consumer that it dropped as an error of the channel.
  expect(await c.event(/error/)).toMatch(/[Uu]nknown consumer/);
});

test("a delivery after the client's own cancel goes out too", async () => {
  await using c = await client();
  const got = await consume(c, 1, (channel, consumerTag) => void channel.deliver({ consumerTag, body: "first" }));
  expect(got[0]!.content.toString()).toBe("first");
  await c.channel.cancel("ct");
  expect(c.server.channel.consumers.size).toBe(0);
  c.server.channel.deliver({ consumerTag: "ct", body: "late" });
  expect(await c.event(/error/)).toMatch(/[Uu]nknown consumer/);
});

test("what the client settles is recorded and told to the script", async () => {
  const told: string[] = [];
  await using c = await client({ onSettle: ({ kind, tag }) => void told.push(`${kind} ${tag}`) });
  const got = await consume(c, 5, (channel, consumerTag) => {
    for (let n = 0; n < 5; n++) channel.deliver({ consumerTag });
  });
  c.channel.ack(got[1]!, true);
  c.channel.nack(got[2]!, false, false);
  c.channel.reject(got[3]!, true);
  c.channel.ack(got[4]!);
  const settlements = await c.server.waitFor((server) => server.settlements.length === 4 && server.settlements);
  expect(settlements).toMatchObject([
    { kind: "ack", tag: 2, multiple: true },
    { kind: "nack", tag: 3, multiple: false, requeue: false },
    { kind: "reject", tag: 4, requeue: true },
    { kind: "ack", tag: 5, multiple: false },
  ]);
  expect(told).toEqual(["ack 2", "nack 3", "reject 4", "ack 5"]);
});

test("qos, declarations, bindings, get, purge, delete and tx are answered and recorded", async () => {
  await using c = await client();
  const { channel, server } = c;
  await channel.prefetch(7);
  expect(server.channel.prefetch).toBe(7);
  await channel.assertExchange("x", "topic", { durable: true, alternateExchange: "alt" });
  expect(await channel.assertQueue("q", { arguments: { "x-queue-type": "quorum" } })).toMatchObject({
    queue: "q",
    messageCount: 0,
  });
  expect((await channel.assertQueue("")).queue).toMatch(/^amq\.gen-/);
  await channel.checkQueue("q");
  await channel.bindQueue("q", "x", "rk");
  await channel.unbindQueue("q", "x", "rk");
  await channel.bindExchange("a", "b", "rk");
  await channel.unbindExchange("a", "b", "rk");
  expect(await channel.get("q")).toBe(false);
  await channel.purgeQueue("q");
  await channel.deleteQueue("q");
  await channel.deleteExchange("x");
  await channel.recover();
  const plain = await c.connection.createChannel();
  const rpc = (
    plain as unknown as { rpc(method: number, fields: object, expected: number): Promise<unknown> }
  ).rpc.bind(plain);
  await rpc(0x5a000a, {}, 0x5a000b);
  await rpc(0x5a0014, {}, 0x5a0015);
  await rpc(0x5a001e, {}, 0x5a001f);
  await plain.close();
  expect(server.connection.channels.size).toBe(1);
  expect(server.methods("queue.declare")[0]).toMatchObject({
    channel: 1,
    args: { queue: "q", durable: true, arguments: { "x-queue-type": "quorum" } },
  });
  expect(server.methods("exchange.declare")[0]!.args["arguments"]).toMatchObject({ "alternate-exchange": "alt" });
  expect(server.methods("tx.commit")).toHaveLength(1);
});

test("a hook answers in the server's place", async () => {
  await using c = await client({
    onMethod: ({ name, args }, _, channel) => {
      if (name !== "queue.declare") return;
      if (args["passive"] === true) channel!.close(404, "NOT_FOUND - no queue", name);
      else channel!.send("queue.declare-ok", { queue: "other", messageCount: 9, consumerCount: 8 });
      return "handled";
    },
  });
  expect(await c.channel.assertQueue("q")).toEqual({ queue: "other", messageCount: 9, consumerCount: 8 });
  await expect(c.channel.checkQueue("q")).rejects.toThrow(/404/);
});
