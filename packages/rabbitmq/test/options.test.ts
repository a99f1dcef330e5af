import { describe, expect, it } from "vitest";
import { rabbitmq, type RabbitOptions } from "@tallymq/rabbitmq";
import { resolveRabbit } from "../src/options.ts";
import { thrownBy, withoutSecret } from "./refused.ts";

describe("options", () => {
  it("have the defaults that the documentation names", () => {
    expect(resolveRabbit({ urls: ["amqp://h"] })).toMatchObject({
      name: "rabbitmq",
      heartbeat: 5_000,
      mode: "confirm",
      txMessages: 1_000,
      txBytes: 4_194_304,
      queueType: "quorum",
      deliveryLimit: 200,
      frameMax: 131_072,
      connectTimeout: 5_000,
      plaintextPassword: false,
      credentials: null,
      tls: null,
    });
  });

  const bad: readonly (readonly [string, Partial<Record<keyof RabbitOptions, unknown>>, RegExp])[] = [
    ["an unknown mode", { mode: "fast" }, /mode must be one of "confirm", "tx"/],
    ["bounds of transactions without transactions", { txMessages: 10 }, /txMessages is given, but mode is not "tx"/],
    ["transactions of no message", { mode: "tx", txMessages: 0 }, /txMessages/],
    ["an unknown queue type", { queueType: "mirrored" }, /queueType/],
    ["a stream", { queueType: "stream" }, /Tally consumes no streams; give the group a quorum queue/],
    [
      "a stream, by an argument",
      { topics: { orders: { queueArguments: { "x-queue-type": "stream" } } } },
      /Tally consumes no streams/,
    ],
    ["an argument that is none", { topics: { orders: { queueArguments: { "max-length": 1 } } } }, /begin with "x-"/],
    [
      "an argument of another kind",
      { topics: { orders: { exchangeArguments: { "alternate-exchange": ["a"] } } } },
      /alternate-exchange must be a string/,
    ],
    ["no binding at all", { topics: { orders: { bindings: { g: [] } } } }, /at least one binding/],
    ["another word for declare", { declare: "active" }, /declare must be one of true, false, "exchange"/],
    ["bindings of one queue", { topics: { orders: { queue: "q", bindings: { g: [{}] } } } }, /queue excludes bindings/],
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
  ];
  const tls: readonly (readonly [string, object, RegExp])[] = [
    ["certificate checks switched off", { rejectUnauthorized: false }, /always checked; name who signed it with ca/],
    ["certificate checks switched on", { rejectUnauthorized: true }, /rejectUnauthorized is no option here/],
    ["an empty ca, of an unset variable say", { ca: "" }, /ca must be PEM/],
    ["a ca that is a path", { ca: "s3crét.pem" }, /ca must be PEM/],
    ["a ca that is other bytes", { ca: [Buffer.from("s3crét")] }, /ca must be PEM/],
    ["a list of no ca", { ca: [] }, /ca must be PEM/],
    ["a certificate without its key", { cert: "pem" }, /cert and key go together/],
    ["a key without its certificate", { key: "pem" }, /cert and key go together/],
    ["a pass phrase for no key", { passphrase: "s3crét" }, /passphrase needs key/],
    ["a server name that is none", { servername: "" }, /servername must be a host name/],
  ];
  for (const [name, given, words] of tls) {
    it(`tls: ${name} is refused at once`, () => {
      const error = thrownBy(() => rabbitmq({ urls: ["amqps://h"], tls: given }));
      expect(error.code).toBe("bad-config");
      expect(error.message).toMatch(words);
      withoutSecret(error);
    });
  }

  for (const [name, given, words] of bad) {
    it(`${name} is refused at once`, () => {
      const error = thrownBy(() => rabbitmq({ urls: ["amqp://h"], ...given } as RabbitOptions));
      expect(error.code).toBe("bad-config");
      expect(error.message).toMatch(words);
    });
  }

  it("urls of another virtual host are refused: another one is another broker", () => {
    const error = thrownBy(() => rabbitmq({ urls: ["amqp://h/shop", "amqp://i/shop", "amqp://j/other"] }));
    expect(error.message).toContain("urls[2] names another virtual host than urls[0]");
    for (const same of [
      ["amqp://h", "amqp://i/%2F"],
      ["amqp://h/a%62", "amqp://i/ab"],
    ])
      rabbitmq({ urls: same });
  });

  it("a pass phrase in tls is in no error", () => {
    withoutSecret(thrownBy(() => rabbitmq({ urls: ["amqps://h"], tls: { passphrase: "s3crét", ca: 5 } } as never)));
  });
});

describe("security: passwords go over TLS only, unless allowed explicitly", () => {
  const open = (url: string, more: object = {}): (() => unknown) => {
    return () => rabbitmq({ urls: ["amqp://localhost", url], ...more });
  };

  it.each([
    "amqp://user:s3cr%C3%A9t@mq.example",
    "amqp://user:s3cr%C3%A9t@10.0.0.1",
    "amqp://user:s3cr%C3%A9t@[2001:db8::1]",
  ])("%s is refused", (url) => {
    const error = thrownBy(open(url));
    expect(error.code).toBe("bad-config");
    expect(error.message).toMatch(/urls\[1\] would send its password unencrypted to .*amqps.*plaintextPassword: true/);
    withoutSecret(error);
  });

  it("so are asked credentials", () => {
    const credentials = (): { password: string } => ({ password: "p" });
    expect(thrownBy(open("amqp://mq.example", { credentials })).message).toContain("unencrypted to mq.example");
    open("amqps://mq.example", { credentials, urls: ["amqps://mq.example"] })();
  });

  it("not to this machine, not guest's, not over TLS, not where it is allowed", () => {
    for (const url of ["amqp://u:p@127.0.0.1", "amqp://u:p@[::1]", "amqp://u:p@mq.localhost", "amqp://mq.example"])
      open(url)();
    open("amqps://u:p@mq.example")();
    open("amqp://u:p@mq.example", { plaintextPassword: true })();
  });

  it("a name that only looks like this machine is refused", () => {
    for (const host of ["localhost.example", "127.0.0.1.example", "notlocalhost"])
      expect(thrownBy(open(`amqp://u:p@${host}`)).code).toBe("bad-config");
  });
});
