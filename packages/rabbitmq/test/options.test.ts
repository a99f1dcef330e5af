import { inspect } from "node:util";
import { describe, expect, it } from "vitest";
import { TallyError } from "@tallymq/core/spi";
import { rabbitmq, type RabbitOptions } from "@tallymq/rabbitmq";
import { readEndpoint } from "../src/endpoint.ts";
import { resolveRabbit } from "../src/options.ts";
import { signal, testHost } from "./stage.ts";

const SECRET = "s3cr%C3%A9t";
const SPELLINGS = ["s3cr%C3%A9t", "s3crét"];

function thrownBy(work: () => unknown): TallyError {
  try {
    work();
  } catch (thrown) {
    expect(TallyError.is(thrown)).toBe(true);
    return thrown as TallyError;
  }
  throw new Error("nothing was thrown");
}

function withoutSecret(error: unknown): void {
  const all = inspect(error, { depth: 10, showHidden: true });
  for (const spelling of SPELLINGS) expect(all).not.toContain(spelling);
}

describe("URLs are checked where they are written, and never quoted", () => {
  const bad: readonly (readonly [string, string, RegExp])[] = [
    ["http", `http://user:${SECRET}@host`, /amqp:\/\/ or amqps:\/\/; got http:\/\//],
    ["no scheme", `user:${SECRET}@host:5672`, /amqp/],
    ["not a URL", `amqp//user:${SECRET}@host`, /cannot be read/],
    ["no host", `amqp://`, /host|read/],
    ["a port beyond 65535", `amqp://user:${SECRET}@host:65536`, /cannot be read/],
    ["port 0", `amqp://user:${SECRET}@host:0`, /port from 1 to 65535/],
    ["a query", `amqp://user:${SECRET}@host/?heartbeat=60`, /without \? and #/],
    ["a path of two", `amqp://user:${SECRET}@host/a/b`, /%2F/],
    ["broken percent signs", `amqp://user:${SECRET}%zz@host`, /%25/],
  ];
  for (const [name, url, words] of bad) {
    it(name, () => {
      const error = thrownBy(() => rabbitmq({ urls: ["amqp://fine", url] }));
      expect(error.code).toBe("bad-config");
      expect(error.message).toMatch(words);
      expect(error.message).toContain("urls[1]");
      withoutSecret(error);
    });
  }

  it("parts are decoded, and the shown form has no credentials", () => {
    expect(readEndpoint("url", "amqps://u%40x:p%2Fw@[::1]:99/v%2Fh")).toEqual({
      protocol: "amqps",
      hostname: "::1",
      port: 99,
      username: "u@x",
      password: "p/w",
      vhost: "v%2Fh",
      shown: "amqps://[::1]:99/v%2Fh",
    });
    expect(readEndpoint("url", "amqp://localhost")).toMatchObject({
      port: 5672,
      username: "guest",
      password: "guest",
      vhost: "",
    });
    expect(readEndpoint("url", "amqps://user@localhost")).toMatchObject({ port: 5671, username: "user", password: "" });
  });

  it("an error of connecting names the endpoint, not the credentials", async () => {
    const transport = rabbitmq({ urls: [`amqp://user:${SECRET}@127.0.0.1:1/`] }).open(testHost());
    const error = await transport.openSender({ blocked() {}, unblocked() {}, lost() {}, surfaced() {} }, signal()).then(
      () => null,
      (e: unknown) => e,
    );
    expect(TallyError.is(error) && [error.code, error.retryable]).toEqual(["unreachable", true]);
    expect((error as TallyError).message).toContain("amqp://127.0.0.1:1/");
    withoutSecret(error);
    withoutSecret(transport);
    await transport[Symbol.asyncDispose]();
  });
});

describe("options", () => {
  it("have the defaults that the documentation names", () => {
    expect(resolveRabbit({ urls: ["amqp://h"] })).toMatchObject({
      name: "rabbitmq",
      heartbeat: 5_000,
      queueType: "quorum",
      deliveryLimit: 200,
      frameMax: 131_072,
      tls: null,
    });
  });

  const bad: readonly (readonly [string, Partial<Record<keyof RabbitOptions, unknown>>, RegExp])[] = [
    ["no URL", { urls: [] }, /at least one URL/],
    ["a URL that is a number", { urls: [5] }, /urls\[0\]/],
    ["a heartbeat of nothing", { heartbeat: 0 }, /heartbeat/],
    ["a heartbeat of half seconds", { heartbeat: 1_500 }, /whole seconds/],
    ["an unknown queue type", { queueType: "stream" }, /queueType/],
    ["a delivery limit below ten", { deliveryLimit: 9 }, /deliveryLimit/],
    ["a frame smaller than RabbitMQ 4.1 allows", { frameMax: 4_096 }, /frameMax/],
    ["tls beside amqp://", { tls: {} }, /amqps/],
    [
      "an unknown option of a topic",
      { topics: { orders: { que: "q" } } },
      /orders has no option "que"; did you mean "queue"/,
    ],
    ["a queue with an exchange", { topics: { orders: { queue: "q", exchange: "e" } } }, /queue excludes exchange/],
    ["a queue with queues", { topics: { orders: { queue: "q", queues: { g: "q2" } } } }, /queue excludes queues/],
    ["a direct exchange without a routing key", { topics: { orders: { exchangeType: "direct" } } }, /routingKey/],
    ["topics as a list", { topics: ["orders"] }, /topics must be an object/],
    ["an unknown option", { heartbeats: 5 } as never, /did you mean "heartbeat"/],
  ];
  for (const [name, given, words] of bad) {
    it(`${name} is refused at once`, () => {
      const error = thrownBy(() => rabbitmq({ urls: ["amqp://h"], ...given } as RabbitOptions));
      expect(error.code).toBe("bad-config");
      expect(error.message).toMatch(words);
    });
  }

  it("a pass phrase in tls is in no error", () => {
    withoutSecret(thrownBy(() => rabbitmq({ urls: ["amqps://h"], tls: { passphrase: "s3crét", ca: 5 } } as never)));
  });
});
