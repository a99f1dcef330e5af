import { createServer, type Server, type Socket } from "node:net";
import type { AddressInfo } from "node:net";
import { TallyError } from "@tallymq/core/spi";
import { rabbitmq } from "@tallymq/rabbitmq";
import { virtualClock } from "@tallymq/testkit";
import { scriptedAmqp } from "@tallymq/testkit/amqp-server";
import { describe, expect, it } from "vitest";
import { dial, shuffled } from "../src/dial.ts";
import { type Endpoint, readEndpoint } from "../src/endpoint.ts";
import { SECRET, withoutSecret } from "./refused.ts";
import { Sending, signal, Stage, testHost } from "./stage.ts";

const DEAD = "amqp://127.0.0.1:1";
const [A, B, C] = ["a", "b", "c"].map((host) => readEndpoint("url", `amqp://${host}`)) as [
  Endpoint,
  Endpoint,
  Endpoint,
];

/** Dials in virtual time; endpoints settle when told. */
class Dialling {
  readonly clock = virtualClock();
  readonly begun: { readonly endpoint: Endpoint; readonly at: number; readonly signal: AbortSignal }[] = [];
  readonly unwanted: string[] = [];
  readonly failed: string[] = [];
  readonly #ends = new Map<Endpoint, PromiseWithResolvers<string>>();
  readonly result: Promise<string>;

  constructor(endpoints: readonly Endpoint[], until: AbortSignal = new AbortController().signal) {
    this.result = dial<string>(
      endpoints,
      {
        clock: this.clock,
        within: 5_000,
        open: (endpoint, signal) => {
          this.begun.push({ endpoint, at: this.clock.now(), signal });
          const end = Promise.withResolvers<string>();
          signal.addEventListener("abort", () => end.reject(signal.reason));
          this.#ends.set(endpoint, end);
          return end.promise;
        },
        unwanted: (opened) => void this.unwanted.push(opened),
        failed: ({ hostname }) => void this.failed.push(hostname),
      },
      until,
    );
    this.result.catch(() => {});
  }

  get hosts(): readonly (readonly [string, number])[] {
    return this.begun.map(({ endpoint, at }) => [endpoint.hostname, at]);
  }
  async opens(endpoint: Endpoint): Promise<void> {
    this.#ends.get(endpoint)!.resolve(`${endpoint.hostname} is open`);
    await this.clock.advance(0);
  }
  async fails(endpoint: Endpoint, error: TallyError): Promise<void> {
    this.#ends.get(endpoint)!.reject(error);
    await this.clock.advance(0);
  }
}

const refused = (host: string): TallyError =>
  new TallyError("unreachable", `amqp://${host}:5672/: connect ECONNREFUSED`, { retryable: true });

describe("several nodes, one try", () => {
  it("one that refuses costs nothing: the next one is dialled at once", async () => {
    const dialling = new Dialling([A, B, C]);
    await dialling.fails(A, refused("a"));
    expect(dialling.hosts).toEqual([
      ["a", 0],
      ["b", 0],
    ]);
    await dialling.opens(B);
    await expect(dialling.result).resolves.toBe("b is open");
    expect(dialling.failed).toEqual(["a"]);
    expect(dialling.clock.pending()).toBe(0);
  });

  it("one that swallows packets costs a second, and is left when another has opened", async () => {
    const dialling = new Dialling([A, B, C]);
    await dialling.clock.advance(999);
    expect(dialling.hosts).toEqual([["a", 0]]);
    await dialling.clock.advance(1);
    expect(dialling.hosts).toEqual([
      ["a", 0],
      ["b", 1_000],
    ]);
    await dialling.opens(B);
    await expect(dialling.result).resolves.toBe("b is open");
    expect(dialling.begun[0]!.signal.aborted).toBe(true);
    expect(dialling.clock.pending()).toBe(0);
  });

  it("one that opens beside the winner is not kept", async () => {
    const dialling = new Dialling([A, B]);
    await dialling.clock.advance(1_000);
    void dialling.opens(B);
    await dialling.opens(A);
    await expect(dialling.result).resolves.toBe("b is open");
    expect(dialling.unwanted).toEqual(["a is open"]);
  });

  it("all of them silent: each gets its time, then one error names all", async () => {
    const dialling = new Dialling([A, B, C]);
    await dialling.clock.advance(6_999);
    expect(dialling.hosts.map(([, at]) => at)).toEqual([0, 1_000, 2_000]);
    await dialling.clock.advance(1);
    const error = await dialling.result.catch((e: unknown) => e as TallyError);
    expect(error).toMatchObject({ code: "unreachable", retryable: true });
    expect((error as TallyError).message).toBe(
      "[unreachable] none of 3 nodes: amqp://a:5672/: no answer within 5000 ms; amqp://b:5672/: no answer within 5000 ms; amqp://c:5672/: no answer within 5000 ms",
    );
    expect(dialling.clock.pending()).toBe(0);
  });

  it("what waiting can mend at one node is worth waiting; what no node will ever take is said at once", async () => {
    const wrong = (host: string): TallyError => new TallyError("unauthorized", `amqp://${host}:5672/: ACCESS_REFUSED`);
    for (const [second, expected] of [
      [refused("b"), { code: "unreachable", retryable: true }],
      [wrong("b"), { code: "unauthorized", retryable: false }],
    ] as const) {
      const dialling = new Dialling([A, B]);
      await dialling.fails(A, wrong("a"));
      await dialling.fails(B, second);
      await expect(dialling.result).rejects.toMatchObject(expected);
    }
  });

  it("given up from outside: with the reason of that, every try left, no timer behind", async () => {
    const gone = new AbortController();
    const dialling = new Dialling([A, B], gone.signal);
    await dialling.clock.advance(1_000);
    gone.abort(new Error("enough"));
    await expect(dialling.result).rejects.toThrow("enough");
    expect(dialling.begun.map(({ signal }) => signal.aborted)).toEqual([true, true]);
    expect(dialling.clock.pending()).toBe(0);
  });

  it("the order is random, each first in its turn, and those that failed come last", () => {
    let seed = 1;
    const random = {
      unit: () => (seed = (seed * 16_807) % 2_147_483_647) / 2_147_483_647,
      bytes: () => new Uint8Array(),
    };
    const first = new Map<string, number>();
    for (let i = 0; i < 3_000; i++) {
      const order = shuffled([A, B, C], new Set(), random).map(({ hostname }) => hostname);
      expect(new Set(order).size).toBe(3);
      first.set(order[0]!, (first.get(order[0]!) ?? 0) + 1);
    }
    for (const host of "abc") expect(first.get(host)).toBeGreaterThan(800);
    for (let i = 0; i < 100; i++) expect(shuffled([A, B, C], new Set([B]), random).at(-1)).toBe(B);
  });
});

describe("several URLs", () => {
  it("a dead one among them does not keep a session from opening, with the first try", async () => {
    await using stage = await Stage.open({});
    for (let i = 0; i < 8; i++) {
      const random = { unit: () => i / 8, bytes: () => new Uint8Array() };
      const transport = rabbitmq({ urls: [DEAD, stage.server.url] }).open({ ...testHost(), random });
      await transport.openSender(new Sending(), signal());
      await transport[Symbol.asyncDispose]();
    }
  });

  it("credentials are those of the URL that is dialled", async () => {
    await using one = await scriptedAmqp();
    await using two = await scriptedAmqp();
    for (const [server, dead] of [
      [one, two],
      [two, one],
    ] as const) {
      dead.script = { onSocket: (connection) => connection.drop() };
      server.script = {};
      const urls = [`amqp://ada:one@127.0.0.1:${one.port}`, `amqp://bob:two@127.0.0.1:${two.port}`];
      const transport = rabbitmq({ urls }).open(testHost());
      await transport.openSender(new Sending(), signal());
      expect(server.connection.user).toBe(server === one ? "ada" : "bob");
      expect(server.connection.secretIs(server === one ? "one" : "two")).toBe(true);
      await transport[Symbol.asyncDispose]();
    }
  });

  it("the node that was lost is dialled after the others", async () => {
    await using one = await scriptedAmqp();
    await using two = await scriptedAmqp();
    // Nothing is ever swapped: without more to go by, `one` would be first each time.
    const random = { unit: () => 0.99, bytes: () => new Uint8Array() };
    const transport = rabbitmq({ urls: [one.url, two.url] }).open({ ...testHost(), random });
    for (const [counts, server] of [
      [[1, 0], one],
      [[1, 1], two],
      [[2, 1], one],
    ] as const) {
      const sending = new Sending();
      sending.sender = await transport.openSender(sending, signal());
      expect([one.connections.length, two.connections.length]).toEqual(counts);
      server.connection.drop();
      await sending.until("the loss", () => sending.losses.length === 1);
    }
    await transport[Symbol.asyncDispose]();
  });

  it("all dead: `unreachable`, and each is named without its password", async () => {
    const urls = [1, 2, 3].map((port) => `amqp://user:${SECRET}@127.0.0.1:${port}/shop`);
    const transport = rabbitmq({ urls }).open(testHost());
    const error = await transport.openSender(new Sending(), signal()).catch((e: unknown) => e);
    expect(error).toMatchObject({ code: "unreachable", retryable: true });
    for (const port of [1, 2, 3]) expect((error as Error).message).toContain(`amqp://127.0.0.1:${port}/shop: connect`);
    withoutSecret(error);
    await transport[Symbol.asyncDispose]();
  });

  it("a node that takes the connection and says nothing is left behind after a second, its socket too", async () => {
    const sockets = new Set<Socket>();
    const silent: Server = createServer((socket) => {
      sockets.add(socket);
      socket
        .on("error", () => {})
        .on("close", () => sockets.delete(socket))
        .resume();
    });
    await new Promise<void>((resolve) => silent.listen(0, "127.0.0.1", resolve));
    await using stage = await Stage.open({});
    const clock = virtualClock();
    // The silent one first: with 0.99 nothing is swapped.
    const random = { unit: () => 0.99, bytes: () => new Uint8Array() };
    const urls = [`amqp://127.0.0.1:${(silent.address() as AddressInfo).port}`, stage.server.url];
    const transport = rabbitmq({ urls }).open({ ...testHost(), clock, random });
    const opening = transport.openSender(new Sending(), signal());
    await expect.poll(() => sockets.size).toBe(1);
    expect(stage.server.connections).toHaveLength(0);
    await clock.advance(1_000);
    await opening;
    await expect.poll(() => sockets.size).toBe(0);
    await transport[Symbol.asyncDispose]();
    silent.close();
  });
});
