// What the client's package gets wrong, on real gRPC against a proxy that says what the test has it say.
import { createHash } from "node:crypto";
import { createRequire } from "node:module";
import { crc32 } from "node:zlib";
import { readHostPort } from "@tallymq/core/spi";
import { realRandom, type VirtualClock, virtualClock } from "@tallymq/testkit";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import type { ClientPlan, HalfAt, Link, OutMessage } from "../src/driver/driver.ts";
import { GrpcDriver } from "../src/driver/grpc.ts";
import { definition, FakeProxy, fine, message, service, settingsCommand } from "./fake-proxy.ts";

const PRODUCER: ClientPlan = { kind: "producer", topics: ["a", "b", "c"] };
const CONSUMER: ClientPlan = { kind: "consumer", group: "g", topics: ["a", "b", "c"], waitMs: 1_000 };
const ASK = { group: "g", topic: "a", most: 1, invisibleMs: 10_000, waitMs: 1_000 };
const HEARTBEAT = 50;

let proxy: FakeProxy;
let clock: VirtualClock;
let lost: unknown[];
let asked: HalfAt[];
let links: Link[];

beforeEach(async () => {
  proxy = await new FakeProxy().start();
  // Deadlines of gRPC are moments of the wall clock: far away, so that a busy machine is no slow proxy.
  clock = virtualClock({ wall: Date.now() + 60_000 });
  [lost, asked, links] = [[], [], []];
});
afterEach(async () => {
  for (const link of links) await link.close();
  await proxy[Symbol.asyncDispose]();
});

async function open(plan: ClientPlan = PRODUCER, requestTimeout = 60_000): Promise<Link> {
  const driver = new GrpcDriver({
    endpoints: [readHostPort("endpoint", `127.0.0.1:${proxy.port}`, "localhost:8081")],
    service: "shop",
    tls: null,
    credentials: null,
    connectTimeout: 5_000,
    requestTimeout,
    heartbeat: HEARTBEAT,
    clock,
    random: realRandom,
  });
  const events = { lost: (thrown: unknown) => void lost.push(thrown), asked: (half: HalfAt) => void asked.push(half) };
  const link = await driver.open(plan, events, new AbortController().signal);
  links.push(link);
  return link;
}

const one = (body: Uint8Array): OutMessage => ({
  topic: "a",
  messageId: "01AB",
  keys: ["abc"],
  properties: new Map([["tally-id", "abc"]]),
  body,
  messageGroup: null,
  deliverAt: null,
  bornAt: 1,
  half: false,
});

describe("a start", () => {
  it("of three topics is over when the proxy has said its settings, which it may before it is asked", async () => {
    await open();
    await open(CONSUMER);
    expect(proxy.telemetry).toHaveLength(2);
  });

  it("that gets no answer ends in time, and leaves neither timer nor stream", async () => {
    const gone = Promise.withResolvers<void>();
    proxy.greet = (stream) => void stream.on("cancelled", gone.resolve);
    const opening = open();
    opening.catch(() => {});
    await expect.poll(() => proxy.settings.length).toBe(1);
    await clock.advance(5_000);
    await expect(opening).rejects.toThrow("within 5000 ms");
    await gone.promise;
    expect([clock.pending(), lost]).toEqual([0, []]);
  });
});

describe("a session that is over", () => {
  it("because the proxy went says so once, closes at once, and nobody connects anew", async () => {
    const link = await open();
    const { port } = proxy;
    await proxy[Symbol.asyncDispose]();
    await expect.poll(() => lost.length).toBe(1);
    await link.close();
    expect(clock.pending()).toBe(0);
    proxy = await new FakeProxy().start(port);
    await clock.advance(600_000);
    // Whoever tried each second would have come before this one.
    await open();
    expect([proxy.telemetry.length, lost.length]).toEqual([1, 1]);
  });

  it("because it was closed has said goodbye, and no error of its stream is nobody's", async () => {
    const ended = Promise.withResolvers<void>();
    proxy.greet = (stream) => {
      stream.on("cancelled", ended.resolve);
      stream.write(settingsCommand());
    };
    const link = await open(CONSUMER);
    await link.close();
    await ended.promise;
    expect([proxy.goodbyes, lost, clock.pending()]).toEqual([1, [], 0]);
  });
});

it("each session has a connection of its own: what ends one of them is nothing to the others", async () => {
  for (const plan of [PRODUCER, PRODUCER, CONSUMER]) await open(plan);
  expect(new Set(proxy.telemetry.map((stream) => stream.getPeer())).size).toBe(3);
});

it("a send that fails is not repeated", async () => {
  const link = await open();
  proxy.answer = (reply) => reply({ code: 14, details: "away" });
  await expect(link.send([one(Buffer.from("x"))])).rejects.toMatchObject({ code: 14 });
  expect(proxy.sends).toHaveLength(1);
});

it("a body goes as its bytes, also where they look like base64; keys are words, and the id is a property", async () => {
  const link = await open();
  proxy.answer = (reply) => {
    const answer = new service.SendMessageResponse();
    answer.setStatus(fine());
    reply(null, answer);
  };
  await link.send([one(Buffer.from("aGVsbG8="))]);
  const sent = proxy.sends[0]![0]!;
  expect(Buffer.from(sent.getBody_asU8()).toString()).toBe("aGVsbG8=");
  expect(sent.getSystemProperties()!.getKeysList()).toEqual(["abc"]);
  expect(sent.getUserPropertiesMap().get("tally-id")).toBe("abc");
});

it("a body of the largest size, and a batch of them, come out again", async () => {
  const link = await open(CONSUMER);
  proxy.messages = [1, 2, 3].map(() => message(new Uint8Array(4 * 1024 * 1024), null));
  const { messages } = await link.receive(ASK, new AbortController().signal);
  expect(messages.map(({ body }) => body.length)).toEqual([4_194_304, 4_194_304, 4_194_304]);
});

it("a proxy that falls silent is found out by the next heartbeat", async () => {
  await open(CONSUMER, 300);
  await clock.advance(HEARTBEAT);
  await expect.poll(() => proxy.heartbeats.length).toBe(1);
  proxy.heartbeats[0]!.answer();
  await expect.poll(() => clock.pending()).toBe(1);
  expect(lost).toEqual([]);
  clock.jumpWall(Date.now() - clock.wall());
  await clock.advance(HEARTBEAT);
  await expect.poll(() => lost).toMatchObject([{ code: 4 }]);
});

it("topics that come later are told to the proxy on the same stream; what it asks about comes back", async () => {
  const link = await open();
  link.announce(["a", "later"]);
  await expect.poll(() => proxy.settings.length).toBe(2);
  const told = proxy.settings.map((each) =>
    each
      .getPublishing()!
      .getTopicsList()
      .map((topic) => topic.getName()),
  );
  expect(told).toEqual([
    ["a", "b", "c"],
    ["a", "later"],
  ]);
  const question = new service.RecoverOrphanedTransactionCommand();
  question.setTransactionId("tx");
  question.setMessage(message(Buffer.from("x"), null));
  const command = new service.TelemetryCommand();
  command.setRecoverOrphanedTransactionCommand(question);
  proxy.telemetry[0]!.write(command);
  await expect.poll(() => asked).toMatchObject([{ messageId: "01", transactionId: "tx" }]);
});

it.each([
  ["commit", false, "COMMIT", "SOURCE_CLIENT"],
  ["commit", true, "COMMIT", "SOURCE_SERVER_CHECK"],
  ["rollback", false, "ROLLBACK", "SOURCE_CLIENT"],
] as const)("a half message's %s (asked: %s) is told as what it is", async (decision, wasAsked, resolution, source) => {
  const link = await open();
  await link.decide({ topic: "a", messageId: "01", transactionId: "tx" }, decision, wasAsked);
  expect(proxy.decisions.map((each) => each.toObject())).toMatchObject([
    {
      topic: { name: "a" },
      messageId: "01",
      transactionId: "tx",
      resolution: definition.TransactionResolution[resolution],
      source: definition.TransactionSource[source],
    },
  ]);
});

describe("a body is held against its checksum", () => {
  const body = Buffer.from("12345");
  const hash = (name: string): string => createHash(name).update(body).digest("hex").toUpperCase();
  const { CRC32, MD5, SHA1 } = definition.DigestType;

  it.each([
    ["CRC32", CRC32, String(crc32(body))],
    ["MD5", MD5, hash("md5")],
    ["SHA1", SHA1, hash("sha1")],
  ])("%s", async (_, type, checksum) => {
    const link = await open(CONSUMER);
    proxy.messages = [message(body, { type, checksum }), message(Buffer.from("12346"), { type, checksum })];
    const { messages } = await link.receive(ASK, new AbortController().signal);
    expect(messages.map(({ corrupted }) => corrupted)).toEqual([false, true]);
  });
});

it("of the client's package nothing is loaded but what was generated from the protocol, and its helpers", () => {
  const loaded = Object.keys(createRequire(import.meta.url).cache).flatMap(
    (file) => file.split("/rocketmq-client-nodejs/")[1] ?? [],
  );
  expect(loaded.length).toBeGreaterThan(3);
  expect(loaded.filter((file) => !/^(proto|dist\/util)\//.test(file))).toEqual([]);
});
