import { describe, expect, it } from "vitest";
import { rabbitmq, type RabbitOptions } from "@tallymq/rabbitmq";
import { resolveRabbit } from "../src/options.ts";
import { thrownBy, withoutSecret } from "./refused.ts";

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
