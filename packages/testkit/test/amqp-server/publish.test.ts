import { expect, test } from "vitest";
import type { AmqpScript, ReceivedPublish } from "@tallymq/testkit/amqp-server";
import { client } from "./client.ts";

const confirms = (events: readonly string[]): string[] =>
  events.filter((text) => /^(ack|nack|return|verdict)/.test(text));
/** Holds publishes back until `n` are there, then lets the script speak once. */
const after = (
  n: number,
  speak: (all: ReceivedPublish[], channel: Parameters<NonNullable<AmqpScript["onPublish"]>>[1]) => void,
): AmqpScript => {
  const all: ReceivedPublish[] = [];
  return { onPublish: (publish, channel) => void (all.push(publish) === n && speak(all, channel)) };
};

test("without a script, each publish on a confirm channel is acked", async () => {
  await using c = await client();
  expect(await Promise.all([c.publish("a"), c.publish("b")])).toEqual(["ok", "ok"]);
  expect(c.server.publishes.map(({ tag, properties }) => [tag, properties.messageId])).toEqual([
    [1, "a"],
    [2, "b"],
  ]);
});

test("a publish is recorded with all that the client sent", async () => {
  await using c = await client();
  const body = Buffer.alloc(300_000, "é"); // several frames each way
  const headers = {
    text: "☃",
    int: 7,
    big: 2 ** 40,
    half: 0.5,
    yes: true,
    none: null,
    list: [1, ["x"]],
    deep: { a: { b: "c" } },
    bytes: Buffer.from([1, 2]),
    at: { "!": "timestamp", value: 1000 },
  };
  c.channel.publish("exchange", "key", body, {
    messageId: "m",
    appId: "app",
    type: "t",
    contentType: "json",
    contentEncoding: "gzip",
    correlationId: "c",
    replyTo: "r",
    expiration: "60000",
    timestamp: 1234,
    priority: 3,
    persistent: true,
    mandatory: true,
    userId: "guest",
    headers,
  });
  const { body: received, ...publish } = (await c.server.publish(1))[0]!;
  expect(publish).toMatchObject({
    kind: "publish",
    connection: 0,
    channel: 1,
    tag: 1,
    exchange: "exchange",
    routingKey: "key",
    mandatory: true,
    immediate: false,
    discarded: false,
  });
  expect(received.equals(body)).toBe(true);
  expect(publish.properties).toMatchObject({
    messageId: "m",
    appId: "app",
    type: "t",
    contentType: "json",
    contentEncoding: "gzip",
    correlationId: "c",
    replyTo: "r",
    expiration: "60000",
    timestamp: 1234,
    priority: 3,
    deliveryMode: 2,
    userId: "guest",
  });
  expect({ ...publish.headers }).toEqual({ ...headers, deep: expect.anything(), at: new Date(1_000_000) });
  expect(publish.headers["deep"]).toMatchObject({ a: { b: "c" } });
});

test("the script acks in any order and form", async () => {
  await using c = await client(
    after(4, (_, channel) => {
      channel.ack(3);
      channel.ack(1);
      channel.ack(4, { multiple: true });
    }),
  );
  expect(await Promise.all(["a", "b", "c", "d"].map((id) => c.publish(id)))).toEqual(["ok", "ok", "ok", "ok"]);
  expect(confirms(c.events)).toEqual([
    "verdict c ok",
    "ack 3",
    "verdict a ok",
    "ack 1",
    "verdict b ok",
    "verdict d ok",
    "ack 4 multiple",
  ]);
});

test("the script nacks, one and many", async () => {
  await using c = await client(
    after(3, (_, channel) => {
      channel.nack(1);
      channel.nack(3, { multiple: true });
    }),
  );
  const verdicts = await Promise.all(["a", "b", "c"].map((id) => c.publish(id)));
  expect(verdicts).toEqual(["message nacked", "message nacked", "message nacked"]);
  expect(confirms(c.events).filter((text) => text.startsWith("nack"))).toEqual(["nack 1", "nack 3 multiple"]);
});

test.each([
  { name: "for tag 0, multiple", ack: { tag: 0, multiple: true }, seen: "ack 0 multiple" },
  { name: "for a tag never published", ack: { tag: 77, multiple: false }, seen: "ack 77" },
  { name: "for a tag beyond 2^32", ack: { tag: 2 ** 32 + 1, multiple: false }, seen: "ack 4294967297" },
])("the client sees an ack $name", async ({ ack, seen }) => {
  await using c = await client({ onPublish: (_, channel) => channel.ack(ack.tag, ack) });
  // amqplib's own bookkeeping breaks at such acks: its errors are its own affair.
  c.channel.publish("x", "rk", Buffer.from(""), { messageId: "a" });
  expect(await c.event(/^ack/)).toBe(seen);
});

test("the client sees an ack twice", async () => {
  await using c = await client({
    onPublish: ({ tag }, channel) => {
      channel.ack(tag);
      channel.ack(tag);
      channel.connection.blocked("done");
    },
  });
  c.channel.publish("x", "rk", Buffer.from(""), { messageId: "a" });
  await c.event(/^blocked done/);
  expect(c.events.filter((text) => text === "ack 1")).toHaveLength(2);
  c.server.connection.unblocked(); // a blocked amqplib does not wait for close-ok
  await c.event(/^unblocked/);
});

test("a return comes before its confirm, or after it, or without one", async () => {
  await using c = await client({
    onPublish: (publish, channel) => {
      const id = publish.properties.messageId;
      if (id === "after") channel.ack(publish.tag);
      channel.return(publish, id === "other" ? { code: 313, text: "NO_CONSUMERS" } : {});
      if (id === "before") channel.ack(publish.tag);
    },
  });
  await c.publish("before");
  await c.publish("after");
  void c.publish("other");
  await c.event(/return other/);
  expect(confirms(c.events)).toEqual([
    "return before 312",
    "verdict before ok",
    "ack 1",
    "verdict after ok",
    "ack 2",
    "return after 312",
    "return other 313",
  ]);
});

test("a return gives the message back whole", async () => {
  await using c = await client({ onPublish: (publish, channel) => channel.return(publish) });
  const returned = new Promise<{ content: Buffer; properties: { headers: object } }>((resolve) =>
    c.channel.on("return", resolve),
  );
  c.channel.publish("x", "rk", Buffer.alloc(200_000, 7), { messageId: "m", headers: { deep: { list: [1, "2"] } } });
  const message = await returned;
  expect(message.content.equals(Buffer.alloc(200_000, 7))).toBe(true);
  expect(message.properties.headers).toEqual({ deep: { list: [1, "2"] } });
});

test("no answer ever is what a hook without a word gives", async () => {
  await using c = await client({ onPublish: () => {} });
  void c.publish("a");
  await c.server.publish(1);
  await c.connection.createChannel(); // a round trip later
  expect(confirms(c.events)).toEqual([]);
});

test("the channel is closed with code, text and cause; what was sent behind it is discarded, and the next channel works", async () => {
  let closed = false;
  await using c = await client({
    onPublish: (publish, channel) => {
      if (closed) return channel.ack(publish.tag);
      closed = true;
      channel.close(404, "NOT_FOUND - no exchange 'x'", "basic.publish");
    },
  });
  const verdicts = Promise.all(["a", "b", "c"].map((id) => c.publish(id)));
  expect(await c.event(/^channel error/)).toMatch(/^channel error 404 60\.40 .*NOT_FOUND - no exchange 'x'/);
  expect(await verdicts).toEqual(["channel closed", "channel closed", "channel closed"]);
  await c.server.publish(3);
  expect(c.server.publishes.map(({ discarded }) => discarded)).toEqual([false, true, true]);
  const next = await c.connection.createConfirmChannel();
  const verdict = new Promise((resolve) => next.publish("x", "rk", Buffer.from(""), {}, resolve));
  expect(await verdict).toBeNull();
  expect(c.server.publishes.at(-1)).toMatchObject({ tag: 1, discarded: false });
});

test("the connection is closed with a code", async () => {
  await using c = await client({
    onPublish: (_, channel) => channel.connection.close(320, "CONNECTION_FORCED - shutdown"),
  });
  void c.publish("a");
  await c.event(/^connection close/);
  expect(await c.server.waitFor((s) => s.methods("connection.close-ok").length === 1)).toBe(true);
  await c.server.connection.closed;
});

test("blocked and unblocked reach the client", async () => {
  await using c = await client();
  c.server.connection.blocked("low on disk");
  expect(await c.event(/^blocked/)).toBe("blocked low on disk");
  c.server.connection.unblocked();
  await c.event(/^unblocked/);
});

test("the script may change in the middle", async () => {
  await using c = await client({ onPublish: ({ tag }, channel) => channel.nack(tag) });
  expect(await c.publish("a")).toBe("message nacked");
  c.server.script = {};
  expect(await c.publish("b")).toBe("ok");
});

test("what a hook throws is told to who waits, or at the end", async () => {
  const waited = await client({
    onPublish: () => {
      throw new Error("my mistake");
    },
  });
  const wait = waited.server.waitFor((s) => s.publishes.length > 9);
  void waited.publish("a");
  await expect(wait).rejects.toThrow("my mistake");
  await waited[Symbol.asyncDispose]();

  const unheard = await client({
    onPublish: () => {
      throw new Error("my mistake");
    },
  });
  void unheard.publish("a");
  await unheard.event(/^connection close/);
  await expect(unheard.server[Symbol.asyncDispose]()).rejects.toThrow("my mistake");
});

test("a wait that ends in vain says what came", async () => {
  await using c = await client();
  await c.publish("a");
  await expect(c.server.publish(2, { within: 20 })).rejects.toThrow(
    /publish 2 did not come within 20 ms; came: .*1 × confirm\.select, 1 × publish/,
  );
});
