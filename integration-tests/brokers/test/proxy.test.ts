import { once } from "node:events";
import { createConnection, createServer, type AddressInfo, type Socket } from "node:net";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { until } from "../engine/wait.ts";
import { startProxy, type Proxy } from "../proxy/proxy.ts";
import { sharedRabbit, type SharedRabbit } from "../vitest/shared.ts";
import { client, publish, quorumQueue, stateAfter } from "./helpers.ts";

describe("as plain amqplib sees it", () => {
  let rabbit: SharedRabbit;
  beforeAll(async () => void (rabbit = await sharedRabbit()));
  afterAll(() => rabbit.stop());

  test("healthy, it changes nothing", async () => {
    await using proxy = await rabbit.proxy();
    await using user = await client(rabbit.urlVia(proxy));
    const queue = await quorumQueue(user.channel);
    const bodies = Array.from({ length: 50 }, (_, index) => Buffer.alloc(20_000, index));
    await Promise.all(bodies.map((body) => publish(user.channel, queue, body)));
    const seen: Buffer[] = [];
    await user.channel.consume(queue, (message) => void seen.push(message!.content), { noAck: true });
    await until("all messages", 10_000, () => seen.length === bodies.length);
    expect(Buffer.concat(seen).equals(Buffer.concat(bodies))).toBe(true);
  });

  test("a cut resets open connections and welcomes new ones", async () => {
    await using proxy = await rabbit.proxy();
    await using user = await client(rabbit.urlVia(proxy));
    expect(proxy.cut()).toBe(1);
    expect(await user.lost).toMatchObject({ code: "ECONNRESET" });
    await using again = await client(rabbit.urlVia(proxy));
    await publish(again.channel, await quorumQueue(again.channel), Buffer.from("x"));
  });

  test("refusing, no connection opens until it heals, and open ones go on", async () => {
    await using proxy = await rabbit.proxy();
    await using user = await client(rabbit.urlVia(proxy));
    await proxy.refuse();
    await expect(client(rabbit.urlVia(proxy))).rejects.toMatchObject({ code: "ECONNREFUSED" });
    await publish(user.channel, await quorumQueue(user.channel), Buffer.from("x"));
    await proxy.heal();
    await using again = await client(rabbit.urlVia(proxy));
    expect(again.channel).toBeDefined();
  });

  test("half-open, only the heartbeat tells", async () => {
    await using proxy = await rabbit.proxy();
    await using user = await client(rabbit.urlVia(proxy), 1);
    proxy.halfOpen();
    const started = performance.now();
    const error = await user.lost;
    expect(String(error)).toMatch(/heartbeat/i);
    expect(performance.now() - started).toBeGreaterThan(1_000);
  });

  test("half-open on the broker's side, a message is stored and its verdict never comes", async () => {
    await using proxy = await rabbit.proxy();
    await using user = await client(rabbit.urlVia(proxy));
    const queue = await quorumQueue(user.channel);
    proxy.halfOpen("broker");
    const verdict = publish(user.channel, queue, Buffer.from("in doubt"));
    await until("the message in the queue", 10_000, async () => (await rabbit.admin.ready(queue)) === 1);
    expect(await stateAfter(verdict, 300)).toBe("pending");
    proxy.cut();
    await expect(verdict).rejects.toThrow();
    expect(await rabbit.admin.ready(queue)).toBe(1);
  });

  test("what was held is carried after it heals", async () => {
    await using proxy = await rabbit.proxy();
    await using user = await client(rabbit.urlVia(proxy));
    const queue = await quorumQueue(user.channel);
    proxy.halfOpen();
    const verdict = publish(user.channel, queue, Buffer.from("late"));
    expect(await stateAfter(verdict, 300)).toBe("pending");
    expect(await rabbit.admin.ready(queue)).toBe(0);
    await proxy.heal();
    await verdict;
    expect(await rabbit.admin.ready(queue)).toBe(1);
  });

  test("slow, a message comes through whole, at the pace that was asked for", async () => {
    await using proxy = await rabbit.proxy();
    await using user = await client(rabbit.urlVia(proxy));
    const queue = await quorumQueue(user.channel);
    proxy.slow({ bytesPerSecond: 10_000, slice: 100 });
    const body = Buffer.from(Array.from({ length: 8_000 }, (_, index) => index % 251));
    const started = performance.now();
    await publish(user.channel, queue, body);
    expect(performance.now() - started).toBeGreaterThan(750);
    await proxy.heal();
    const message = await user.channel.get(queue, { noAck: true });
    expect(message !== false && message.content.equals(body)).toBe(true);
  });

  test("cut inside a publish, the broker has no message; cut after it, the message is stored in doubt", async () => {
    await using proxy = await rabbit.proxy();
    for (const [bytes, stored] of [
      [500, 0],
      [1_200, 1],
    ] as const) {
      await using user = await client(rabbit.urlVia(proxy));
      const queue = await quorumQueue(user.channel);
      const before = proxy.carried.client;
      const cut = proxy.cutAfter({ bytes });
      const verdict = publish(user.channel, queue, Buffer.alloc(1_000));
      verdict.catch(() => {});
      // The publish itself is shorter than the larger budget: more traffic of the same client spends the rest.
      if (stored === 1) {
        await verdict;
        user.channel.sendToQueue(queue, Buffer.alloc(1_000));
      }
      await cut;
      expect(await user.lost).toMatchObject({ code: "ECONNRESET" });
      expect(proxy.carried.client - before).toBe(bytes);
      expect(await rabbit.admin.ready(queue)).toBe(stored);
    }
  });

  test("cut after the broker's bytes, the confirm does not arrive and the message is stored", async () => {
    await using proxy = await rabbit.proxy();
    await using user = await client(rabbit.urlVia(proxy));
    const queue = await quorumQueue(user.channel);
    const cut = proxy.cutAfter({ bytes: 5, from: "broker" });
    const verdict = publish(user.channel, queue, Buffer.from("x"));
    await expect(verdict).rejects.toThrow();
    await cut;
    expect(await rabbit.admin.ready(queue)).toBe(1);
  });
});

describe("as a socket sees it", () => {
  test("a cut after byte N lets exactly N bytes through, whatever the pieces", async () => {
    for (const bytes of [1, 4_095, 65_536, 100_001]) {
      await using sink = await byteSink();
      await using proxy = await startProxy(sink.port);
      const user = await connected(proxy);
      const reset = once(user, "error");
      const cut = proxy.cutAfter({ bytes });
      user.write(Buffer.alloc(200_000));
      await cut;
      await until("the last byte", 5_000, () => sink.received() === bytes && sink.ended());
      expect(((await reset) as [NodeJS.ErrnoException])[0].code).toMatch(/ECONNRESET|EPIPE/);
      expect(sink.received()).toBe(bytes);
    }
  });

  test("an orderly end passes after all that came before it", async () => {
    await using sink = await byteSink();
    await using proxy = await startProxy(sink.port);
    proxy.slow({ bytesPerSecond: 100_000, slice: 1_000 });
    const user = await connected(proxy);
    user.end(Buffer.alloc(10_000));
    await until("the end", 5_000, () => sink.ended());
    expect(sink.received()).toBe(10_000);
  });
});

async function connected(proxy: Proxy): Promise<Socket> {
  const socket = createConnection({ host: "127.0.0.1", port: proxy.port });
  await once(socket, "connect");
  return socket;
}

async function byteSink(): Promise<{ port: number; received(): number; ended(): boolean } & AsyncDisposable> {
  let received = 0;
  let ended = false;
  const server = createServer((socket) => {
    socket.on("error", () => {});
    socket.on("data", (data) => (received += data.length)).on("end", () => (ended = true));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const close = (): Promise<void> => new Promise((resolve) => server.close(() => resolve()));
  return {
    port: (server.address() as AddressInfo).port,
    received: () => received,
    ended: () => ended,
    [Symbol.asyncDispose]: close,
  };
}
