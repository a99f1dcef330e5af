// The rows of one table, those that only RabbitMQ has: URLs, TLS, names of queues, and what would end a channel.
import { generateKeyPairSync } from "node:crypto";
import { openTally, type TallyEvent, topic } from "@tallymq/core";
import { TallyError } from "@tallymq/core/spi";
import { rabbitmq, type RabbitOptions } from "@tallymq/rabbitmq";
import { scriptedAmqp } from "@tallymq/testkit/amqp-server";
import { describe, expect, it } from "vitest";
import { readEndpoint } from "../src/endpoint.ts";
import { SECRET, thrownBy, withoutSecret } from "./refused.ts";
import { message, Receiving, Sending, signal, Stage, testHost } from "./stage.ts";

function refused(given: object): TallyError {
  const error = thrownBy(() => rabbitmq({ urls: ["amqp://h"], ...given } as RabbitOptions));
  expect(error.code).toBe("bad-config");
  return error;
}

/** What a consumer of `orders` gets, and what its session surfaces. */
async function received(properties: object, times = 1) {
  await using stage = await Stage.open({
    onConsume({ tag }, channel) {
      for (let i = 0; i < times; i++)
        channel.deliver({ consumerTag: tag, properties: properties as never, body: "{}" });
    },
  });
  const heard: string[] = [];
  const receiving = Object.assign(new Receiving(), { surfaced: (what: string) => void heard.push(what) });
  const subscription = {
    topic: { name: "orders", ordered: false, groups: [] },
    group: "billing",
    credit: 100,
    consumer: "c1",
  };
  receiving.port = await stage.transport.openReceiver(subscription, receiving, signal());
  const deliveries = await receiving.first(times);
  return { message: deliveries[0]!.message, heard };
}

// Without a port it is the protocol's own, as every AMQP client has it: documented, not refused.
describe("no brokers, `brokers: []`; broker without a port; `http://` or malformed URL: rejected at construction, credentials redacted", () => {
  it.each([
    ["no urls", {}, /urls must be given/],
    ["urls: []", { urls: [] }, /urls must be a list of at least one URL/],
    ["brokers: []", { urls: ["amqp://h"], brokers: [] }, /no option "brokers"/],
    ["a URL in place of a list", { urls: `amqp://user:${SECRET}@host` }, /urls must be a list/],
    ["a URL that is a number", { urls: [5] }, /urls\[0\] must be a URL as a string; got a number/],
    ["null", { urls: [null] }, /urls\[0\] must be a URL as a string/],
  ])("%s", (_what, given, words) => {
    const error = thrownBy(() => rabbitmq(given as never));
    expect(error.code).toBe("bad-config");
    expect(error.message).toMatch(words);
    withoutSecret(error);
  });

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

  it("a port that is not given is 5672, or 5671 for amqps; parts are decoded, and the shown form has no credentials", () => {
    expect(readEndpoint("url", "amqps://u%40x:p%2Fw@[::1]:99/v%2Fh")).toEqual({
      protocol: "amqps",
      hostname: "::1",
      port: 99,
      username: "u@x",
      password: "p/w",
      hasLogin: true,
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
    const error = await transport.openSender(new Sending(), signal()).then(
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

describe("unknown option key: rejected, with the nearest known key", () => {
  it.each([
    [{ heartbeats: 5 }, 'rabbitmq has no option "heartbeats"; did you mean "heartbeat"?'],
    [{ prefetch: 5 }, 'rabbitmq has no option "prefetch"'],
    [{ topics: { orders: { que: "q" } } }, 'rabbitmq: topics.orders has no option "que"; did you mean "queue"?'],
    [{ tls: { serverName: "mq" } }, 'rabbitmq: tls has no option "serverName"; did you mean "servername"?'],
  ])("%j", (given, words) => {
    expect(refused(given).message).toContain(words);
  });
});

describe('timeout 0, −1, NaN, "5 parsecs", 2³¹: rejected', () => {
  it.each([-1, Number.NaN, "5 parsecs", 2 ** 31, 999, 1_500, "0s", null])("heartbeat %j", (heartbeat) => {
    expect(refused({ heartbeat }).message).toMatch(
      /heartbeat must be (a duration from 1000 ms to 600000 ms|whole seconds)/,
    );
  });
});

describe("heartbeat 0: only explicitly; warn", () => {
  const deaf = (event: TallyEvent): boolean => event.type === "surfaced" && event.text.includes("heartbeats are off");

  it("is off when it is 0, and says so once; the default is 5 s, and says nothing", async () => {
    for (const [given, agreed] of [
      [{ heartbeat: 0 }, 0],
      [{}, 5],
      [{ heartbeat: undefined }, 5],
    ] as const) {
      await using server = await scriptedAmqp({}, {});
      const events: TallyEvent[] = [];
      await using tally = await openTally({
        service: "shop",
        broker: rabbitmq({ urls: [server.url], ...given } as RabbitOptions),
        onEvent: (event) => events.push(event),
      });
      const billing = tally.consumer("billing").on(topic("orders"), () => {});
      await using _ = await billing.start();
      expect(server.connections.map((c) => c.heartbeat)).toEqual([agreed, agreed]);
      expect(events.filter(deaf)).toHaveLength(agreed === 0 ? 1 : 0);
    }
  });
});

describe("retry queue = source queue; DLQ = source queue: rejected", () => {
  const letters = "orders.billing.dead-letters";
  it.each<[string, object]>([
    ["the group's own queue", { [letters]: { queue: "orders.billing" } }],
    ["the group's own queue, as the letters' group's", { [letters]: { queues: { "dead-letters": "orders.billing" } } }],
    ["a queue that the group was given", { orders: { queues: { billing: "bills" } }, [letters]: { queue: "bills" } }],
    ["the topic's one queue", { orders: { queue: "q" }, [letters]: { queue: "q" } }],
    ["the topic's own exchange", { [letters]: { exchange: "orders" } }],
    ["an exchange that the topic was given", { orders: { exchange: "e" }, [letters]: { exchange: "e" } }],
    ["names with dots", { "eu.orders.web.billing.dead-letters": { queue: "eu.orders.web.billing" } }],
  ])("%s", (_what, topics) => {
    expect(refused({ topics }).message).toMatch(
      /topics\..*dead-letters: dead letters of group ".+" would go back into its own queue, ".+"/,
    );
  });

  it.each([
    { queue: "tally.delay.64" },
    { exchange: "tally.delay.64" },
    { queues: { billing: "tally.delay.128" } },
    { queues: { billing: "tally.delay.nobody" } },
  ])("a queue or an exchange of delays: %j", (orders) => {
    expect(refused({ topics: { orders } }).message).toMatch(/topics\.orders.* must not begin with tally\.delay\./);
  });

  it("a topic of that name", async () => {
    await using stage = await Stage.open({});
    const plan = { name: "tally.delay.64", ordered: false, groups: ["billing"] };
    await expect(stage.transport.admin.declare([plan], signal())).rejects.toMatchObject({ code: "bad-config" });
    expect(stage.server.methods("exchange.declare")).toEqual([]);
  });

  it("any other queue is taken, and letters that share an exchange under a key of their own", () => {
    for (const topics of [
      { [letters]: { queue: "graveyard" } },
      { orders: { queue: "q" }, [letters]: { queue: "q.dead" } },
      {
        orders: { exchange: "e", exchangeType: "direct", routingKey: "orders" },
        [letters]: { exchange: "e", exchangeType: "direct", routingKey: "dead" },
      },
    ])
      rabbitmq({ urls: ["amqp://h"], topics } as RabbitOptions);
  });
});

describe("configuration with `__proto__`: rejected", () => {
  it.each([
    "{%}",
    '{"topics":{%}}',
    '{"topics":{"orders":{%}}}',
    '{"topics":{"orders":{"queues":{%}}}}',
    '{"tls":{%}}',
  ])("%s", (where) => {
    const given = JSON.parse(where.replace("%", '"__proto__":{"polluted":true}')) as object;
    expect(refused(given).message).toContain('"__proto__"');
    expect(({} as Record<string, unknown>)["polluted"]).toBe(undefined);
  });
});

// Public: its key was thrown away. Valid until 2126.
const CERTIFICATE = `-----BEGIN CERTIFICATE-----
MIIBfzCCASWgAwIBAgIUcmQeR6VahUCIxdP8BsrSu/QPlKswCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyNjIwNTUwMloYDzIxMjYxMTAy
MjA1NTAyWjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAQhDFYKOthV9H2E0lwsslHbv6jB+/EPyy1/hp3s7Q2jaktDl4nPbkpi
nbBmQcTi4Nw7WTJZ/kA6iwRqv1nOnor4o1MwUTAdBgNVHQ4EFgQUP6O2E5zYUCcI
zQcww+M2ZkCpAtIwHwYDVR0jBBgwFoAUP6O2E5zYUCcIzQcww+M2ZkCpAtIwDwYD
VR0TAQH/BAUwAwEB/zAKBggqhkjOPQQDAgNIADBFAiEAuuWSCsGDmJhsl+agUEok
wiykaErw70y9oU5tSCp/pewCIBuW6DM/dq+UTz5XpiFMU/DFP70z7ZxWQWqmmkH3
Xjhu
-----END CERTIFICATE-----
`;

describe("certificate and key don't match: fail at start, no key in the message", () => {
  const pem = (passphrase: string | null): string =>
    generateKeyPairSync("ec", {
      namedCurve: "P-256",
      publicKeyEncoding: { type: "spki", format: "pem" },
      privateKeyEncoding: {
        type: "pkcs8",
        format: "pem",
        ...(passphrase === null ? {} : { cipher: "aes-256-cbc", passphrase }),
      } as { type: "pkcs8"; format: "pem" },
    }).privateKey;

  it.each<[string, () => { readonly cert: string; readonly key: string; readonly passphrase?: string }, RegExp]>([
    ["a key of another certificate", () => ({ cert: CERTIFICATE, key: pem(null) }), /key values mismatch/],
    // "bad decrypt", but in one of 256: then the padding happens to be right.
    ["a wrong pass phrase", () => ({ cert: CERTIFICATE, key: pem("right"), passphrase: "s3crét" }), /./],
    ["a key that is none", () => ({ cert: CERTIFICATE, key: "s3crét" }), /./],
    ["a certificate that is none", () => ({ cert: "s3crét", key: pem(null) }), /./],
  ])("%s", async (_what, tls, words) => {
    const given = tls();
    const broker = rabbitmq({ urls: ["amqps://user:s3cr%C3%A9t@127.0.0.1:1"], tls: given });
    const error = await openTally({ service: "shop", broker }).then(
      () => null,
      (e: unknown) => e,
    );
    expect(error).toMatchObject({ code: "bad-config", retryable: false, mayArrive: false });
    expect((error as Error).message).toMatch(/amqps:\/\/127\.0\.0\.1:1\/: tls cannot be used as it is given: /);
    expect((error as Error).message).toMatch(words);
    withoutSecret(error);
    const secret = given.key.split("\n").filter((line) => line.length > 20 && !line.startsWith("-"));
    withoutSecret(error, secret);
  });
});

describe("received `__proto__` / `constructor` header: null-prototype copy, no pollution", () => {
  it("whatever the driver made of it, also in `native`", async () => {
    const { message: got } = await received({
      headers: { ["__proto__"]: { polluted: "yes" }, constructor: "c", toString: "t", hasOwnProperty: "h", a: "b" },
    });
    expect(Object.getPrototypeOf(got.headers)).toBeNull();
    expect({ ...got.headers }).toEqual({ constructor: "c", toString: "t", hasOwnProperty: "h", a: "b" });
    expect("polluted" in got.headers).toBe(false);
    const native = got.native as { properties: { headers: object } };
    expect("polluted" in native.properties.headers).toBe(false);
    expect(({} as Record<string, unknown>)["polluted"]).toBeUndefined();
  });
});

describe('spoofed Tally header (attempt −1, "abc", 1e308; foreign id): treated as 1, surfaced; attempts capped', () => {
  it.each([-1, "abc", "1e308", 0, true, 1_000_001, "1.5"])("tally-attempt %j", async (attempt) => {
    const { message: got, heard } = await received({ headers: { "tally-attempt": attempt } });
    expect(got.attempt).toBe(1);
    expect({ ...got.headers }).toEqual({});
    expect(heard).toEqual([
      "a message of orders for billing has a tally-attempt that no Tally has written: read as if it were not there",
    ]);
  });

  it.each(["run/-4", "/1", 7])("tally-seq %j", async (seq) => {
    const { message: got, heard } = await received({ headers: { "tally-seq": seq } });
    expect(got).toMatchObject({ run: null, seq: null });
    expect(heard).toHaveLength(1);
  });

  it("is surfaced once a session; what a Tally has written is not", async () => {
    expect((await received({ headers: { "tally-attempt": -1 } }, 50)).heard).toHaveLength(1);
    const own = await received({ headers: { "tally-seq": "r/12", "tally-attempt": "7" } });
    expect(own.message).toMatchObject({ run: "r", seq: 12, attempt: 7 });
    expect(own.heard).toEqual([]);
  });
});

describe('key null / 10 MB; routing key over 255 bytes; `expiration: "abc"`: documented / rejected before the channel closes', () => {
  it.each<[string, object, string]>([
    [
      "a routing key of 256 bytes",
      { native: { routingKey: "x".repeat(256) } },
      "native.routingKey must be a string of at most 255 bytes",
    ],
    [
      "a routing key of 128 letters that take 256 bytes",
      { native: { routingKey: "é".repeat(128) } },
      "at most 255 bytes",
    ],
    [
      "an expiration of abc",
      { native: { expiration: "abc" } },
      "native.expiration must be whole milliseconds from 0 to 4294967295",
    ],
    ["a negative expiration", { native: { expiration: -1 } }, "native.expiration must be whole milliseconds"],
    [
      "an expiration that is no number",
      { native: { expiration: Number.NaN } },
      "native.expiration must be whole milliseconds",
    ],
    ["a key of 10 MB", { key: "k".repeat(10_000_000) }, "one frame of this connection holds 131072"],
  ])("%s is refused alone, and its siblings go out on the same channel", async (_what, given, words) => {
    await using stage = await Stage.open({});
    const sending = await stage.sender();
    sending.post([message(1), message(2, given), message(3)]);
    await sending.count(3);
    expect(sending.kinds).toEqual({ m1: "accepted", m2: "refused", m3: "accepted" });
    expect(stage.server.publishes.map((p) => p.properties.messageId)).toEqual(["m1", "m3"]);
    expect(sending.error("m2")).toMatchObject({ code: "bad-message", id: "m2", mayArrive: false, retryable: false });
    expect(sending.error("m2").message).toContain(words);
    expect(sending.losses).toEqual([]);
  });
});
