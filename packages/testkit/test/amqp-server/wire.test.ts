import { connect } from "amqplib";
import { connect as connectSocket } from "node:net";
import { once } from "node:events";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { MALFORMED, scriptedAmqp } from "@tallymq/testkit/amqp-server";
import type { Malformed } from "@tallymq/testkit/amqp-server";
import { client } from "./client.ts";

describe("the handshake", () => {
  test("tells who the client is, and never its password", async () => {
    await using server = await scriptedAmqp({}, { heartbeat: 7, frameMax: 8192, channelMax: 5 });
    const connection = await connect(`amqp://me:hunter2@127.0.0.1:${server.port}/a%2Fb`, {
      clientProperties: { connection_name: "mine" },
    });
    expect(server.connection).toMatchObject({
      index: 0,
      user: "me",
      virtualHost: "a/b",
      state: "open",
      heartbeat: 7,
      clientProperties: { connection_name: "mine" },
    });
    expect(JSON.stringify(server.received)).not.toContain("hunter2");
    await connection.close();
    await server.connection.closed;
    expect(server.received.at(-1)).toEqual({ kind: "end", connection: 0 });
  });

  test("may refuse the password, the virtual host, or say nothing", async () => {
    await using server = await scriptedAmqp({
      onMethod: ({ name }, connection) => {
        if (name !== "connection.start-ok") return;
        connection.close(403, "ACCESS_REFUSED");
        return "handled";
      },
    });
    await expect(connect(server.url)).rejects.toThrow(/403.*ACCESS_REFUSED/);
    server.script = { onOpen: (connection) => (connection.close(530, "NOT_ALLOWED"), "handled") };
    await expect(connect(server.url)).rejects.toThrow(/close/i);
    server.script = { onOpen: () => "handled" };
    await expect(connect(server.url, { timeout: 50 })).rejects.toThrow(/ETIMEDOUT/);
    server.script = { onSocket: (connection) => connection.drop() };
    await expect(connect(server.url)).rejects.toThrow(/ECONNRESET|closed/);
    expect(server.connections.length).toBe(4);
  });

  test("is refused to who does not speak AMQP 0-9-1", async () => {
    await using server = await scriptedAmqp();
    const socket = connectSocket(server.port, "127.0.0.1");
    socket.write("GET / HTTP/1.1\r\n");
    const [bytes] = await once(socket, "data");
    expect(bytes).toEqual(Buffer.from("AMQP\x00\x00\x09\x01", "latin1"));
    socket.destroy();
  });

  test("holds a port that a next server can take again", async () => {
    const first = await scriptedAmqp();
    const { port } = first;
    await first[Symbol.asyncDispose]();
    await expect(connect(`amqp://127.0.0.1:${port}`)).rejects.toThrow(/ECONNREFUSED/);
    await using second = await scriptedAmqp({}, { port });
    await (await connect(second.url)).close();
  });
});

describe("the socket", () => {
  test("is reset, or ended, without a word", async () => {
    for (const [reset, error] of [
      [true, /ECONNRESET/],
      [false, /Unexpected close/],
    ] as const) {
      await using c = await client({ onPublish: (_, channel) => channel.connection.drop({ reset }) });
      const verdict = c.publish("a");
      expect(await c.event(/^connection error/)).toMatch(error);
      expect(await verdict).toBe("channel closed");
    }
  });

  test("is dropped after any byte of a publish: only the last byte completes it", async () => {
    // One publish on the wire: method 7+4+2+2+3+1+1, header 7+14+1+2+1, body 7+9+1 and so on; measured, not counted by hand.
    await using whole = await client();
    const socket = (whole.connection as unknown as { connection: { stream: { bytesWritten: number } } }).connection
      .stream;
    const before = socket.bytesWritten;
    await whole.publish("a");
    const length = socket.bytesWritten - before;
    for (const bytes of [0, 1, 7, 8, 20, length - 1, length]) {
      await using c = await client({ onPublish: () => {} });
      c.server.connection.dropAfterReceiving(bytes);
      void c.publish("a");
      await c.server.connection.closed;
      expect(c.server.publishes, `${bytes} of ${length} bytes`).toHaveLength(bytes === length ? 1 : 0);
      await c.event(/^connection close/);
    }
  });

  test("ends after any byte that the server sends", async () => {
    const ackLength = 7 + 4 + 9 + 1;
    for (const bytes of [0, 1, 8, ackLength - 1, ackLength]) {
      await using c = await client({
        onPublish: ({ tag }, channel) => {
          channel.connection.dropAfterSending(bytes);
          channel.ack(tag);
        },
      });
      expect(await c.publish("a")).toBe(bytes === ackLength ? "ok" : "channel closed");
      await c.event(/^connection close/);
    }
  });

  test("is silent when muted: the client's heartbeat notices", async () => {
    await using c = await client({}, { heartbeat: 1 });
    await c.server.waitFor((s) => s.received.some(({ kind }) => kind === "heartbeat"), { what: "a heartbeat" });
    expect(c.events).toEqual([]); // the server's own heartbeats keep it alive
    c.server.connection.mute();
    expect(await c.event(/^connection error/)).toMatch(/Heartbeat timeout/);
  });

  test("is not read when frozen; what was sent comes when it thaws", async () => {
    await using c = await client();
    c.server.connection.freeze();
    const verdict = c.publish("a");
    await new Promise((resolve) => setImmediate(resolve));
    expect(c.server.publishes).toEqual([]);
    c.server.connection.thaw();
    expect(await verdict).toBe("ok");
  });

  test("carries any bytes: amqplib survives, by closing, whatever comes", async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ minLength: 8, maxLength: 200 }), async (bytes) => {
        // A first byte that is no frame type and the right length make them a frame for certain.
        const frame = Buffer.concat([Buffer.from([0xff, 0, 1, 0, 0, 0, bytes.length]), bytes, Buffer.from([0])]);
        await using c = await client({ onPublish: (_, channel) => channel.connection.sendRaw(frame) });
        void c.publish("a");
        expect(await c.event(/^connection error/)).toMatch(/Invalid frame/);
      }),
      { numRuns: 15 },
    );
  });
});

describe("malformed frames", () => {
  // What amqplib makes of each: the point is that each is seen by it, not that it likes it.
  const seen: Readonly<Record<Malformed, RegExp>> = {
    "huge frame": /connection error Frame size 4294967295 exceeds/,
    "wrong end": /connection error Invalid frame/,
    "wrong size": /connection error Invalid frame/,
    "unknown frame type": /connection error Unknown frame type 9/,
    "unknown method": /connection error Unknown class\/method ID/,
    "empty method": /connection error .*(range|bounds)/,
    "method cut short": /connection error .*(range|bounds)/,
    "header without method": /channel error .*Expected BasicDeliver or BasicReturn/,
    "body without header": /channel error .*Expected BasicDeliver or BasicReturn/,
    "body longer than announced": /channel error .*Too much content/,
    "delivery without header": /channel error .*Expected headers frame/,
    "field of no type": /connection error Unexpected type tag "Z"/,
    "table longer than its frame": /connection error .*(range|bounds|Unexpected)/,
    "answer that nobody asked for": /connection error .*/,
    "channel that nobody opened": /connection error Frame on unknown channel/,
  };
  test.each(Object.keys(MALFORMED) as Malformed[])("amqplib sees: %s", async (name) => {
    await using c = await client({ onPublish: (_, channel) => channel.connection.sendMalformed(name, channel.id) });
    void c.publish("a").catch(() => {});
    expect(await c.event(/(channel|connection) error/)).toMatch(seen[name]);
  });
});
